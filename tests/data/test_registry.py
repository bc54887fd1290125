"""What a name or a path leads to, and where CIFAR-10 is looked for."""

from pathlib import Path

import pytest
from PIL import Image

from qnas.data.registry import SOURCES, default_space, find_again, find_data, sized
from qnas.errors import QnasError
from qnas.space.space import space_names

NAMES = "airplane automobile bird cat deer dog frog horse ship truck"


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine on which there is no data yet."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("QNAS_DATA", raising=False)
    return tmp_path / "home"


def put_cifar10(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in (*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"):
        (folder / name).write_bytes(bytes(3073) + bytes([1]) + bytes([9]) * 3072)
    (folder / "batches.meta.txt").write_text("\n".join(NAMES.split()), encoding="utf-8")
    return folder


def test_digits_need_nothing() -> None:
    assert find_data("digits").name == "digits"


def test_nowhere_is_no_folder() -> None:
    assert SOURCES["cifar10"].place is None


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_is_found_where_the_variable_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, below: str
) -> None:
    put_cifar10(tmp_path / "data" / below)
    monkeypatch.setenv("QNAS_DATA", str(tmp_path / "data"))
    assert SOURCES["cifar10"].place == tmp_path / "data" / below
    assert find_data("cifar10").name == "cifar10"


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_cifar10_is_found_in_the_cache(home: Path, below: str) -> None:
    put_cifar10(home / ".cache" / "qnas" / below)
    assert SOURCES["cifar10"].place == home / ".cache" / "qnas" / below


def test_the_variable_goes_before_the_cache(tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put_cifar10(home / ".cache" / "qnas")
    put_cifar10(tmp_path / "data")
    monkeypatch.setenv("QNAS_DATA", str(tmp_path / "data"))
    assert SOURCES["cifar10"].place == tmp_path / "data"


def test_the_cache_serves_where_the_variable_points_to_nothing(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_cifar10(home / ".cache" / "qnas")
    monkeypatch.setenv("QNAS_DATA", str(tmp_path / "elsewhere"))
    assert SOURCES["cifar10"].place == home / ".cache" / "qnas"


def test_missing_cifar10_is_refused_with_where_to_put_it() -> None:
    with pytest.raises(QnasError, match=r"not on this machine \(looked below \$QNAS_DATA .*\); unpack"):
        find_data("cifar10")


@pytest.mark.parametrize("below", ["", "cifar-10-batches-bin"])
def test_a_path_to_cifar10_is_cifar10(tmp_path: Path, below: str) -> None:
    put_cifar10(tmp_path / "some" / below)
    assert find_data(str(tmp_path / "some")).name == "cifar10"


def test_a_path_to_class_folders_is_an_image_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / "mine" / name / f"{number}.png")
    assert find_data(str(tmp_path / "mine")).name == "mine"


@pytest.mark.parametrize("name", ["cifar100", "no/such/folder"])
def test_an_unknown_name_is_refused(name: str) -> None:
    expected = f"digits, fashion, cifar10 or a folder of images, got {name!r}; give one of them as `data`"
    with pytest.raises(QnasError, match=expected):
        find_data(name)


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(QnasError, match="or a folder of images"):
        find_data(str(tmp_path / "file"))


@pytest.mark.parametrize(
    ("data", "space"), [("digits", "tiny"), ("cifar10", "mobile-small"), ("/some/folder", "cifar")]
)
def test_every_data_set_has_a_shipped_space(data: str, space: str) -> None:
    assert default_space(data) == space
    assert space in space_names()


@pytest.mark.parametrize(("tail", "image"), [("", (1, 10, 20)), ("@16", (1, 16, 16)), ("@24x16", (1, 16, 24))])
def test_the_size_of_images_may_follow_their_folder(tmp_path: Path, tail: str, image: tuple[int, int, int]) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (20, 10), number).save(tmp_path / "photos" / name / f"{number}.png")
    data = find_data(f"{tmp_path / 'photos'}{tail}")
    assert (data.task.image, data.name) == (image, "photos")


def test_images_that_have_changed_are_no_longer_those_of_a_run(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / name / f"{number}.png")
    settings = {"data": str(tmp_path), "images": find_data(str(tmp_path)).fingerprint}
    assert find_again(settings["data"], settings["images"]).fingerprint == settings["images"]
    Image.new("L", (8, 8), 99).save(tmp_path / "a" / "0.png")
    with pytest.raises(QnasError, match=r"have changed since the run began, got other pixels in .*; put them"):
        find_again(settings["data"], settings["images"])


@pytest.mark.parametrize("tail", ["@0", "@2", "@2000", "@5000", "@64x3", "@0x0"])
def test_a_size_out_of_range_is_refused(tmp_path: Path, tail: str) -> None:
    with pytest.raises(QnasError, match=r"Images are 4 to 1024 pixels wide and high, got .*; write `data` such as"):
        find_data(f"{tmp_path}{tail}")


def test_a_folder_whose_name_looks_like_a_size_is_that_folder(tmp_path: Path) -> None:
    assert sized(str(tmp_path / "photos@64")) == (tmp_path / "photos", (64, 64))
    (tmp_path / "photos@64").mkdir()
    assert sized(str(tmp_path / "photos@64")) == (tmp_path / "photos@64", None)
    assert sized("me@example.org") == (Path("me@example.org"), None)


def test_a_path_that_a_terminal_cannot_show_is_refused(tmp_path: Path) -> None:
    (tmp_path / "new\nline").mkdir()
    with pytest.raises(QnasError, match=r"where a terminal can show it, got 'new\\nline'; rename"):
        find_data(str(tmp_path / "new\nline"))


def test_the_current_folder_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (7, 7), number).save(tmp_path / "photos" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path / "photos")
    assert find_data(".").name == "photos"
    assert find_data(".@7").task.image == (1, 7, 7)
