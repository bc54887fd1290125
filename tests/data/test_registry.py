"""What a name or a path leads to, and where CIFAR-10 is looked for."""

import re
from pathlib import Path

import pytest
from PIL import Image

from qnas.data.registry import (
    SOURCES,
    Size,
    arguments,
    check_data,
    default_space,
    find_again,
    find_data,
    sized,
    with_size,
)
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


NOWHERE = "there is no such folder; give one of them as `data`."


@pytest.mark.parametrize(
    ("name", "remedy"),
    [("cifar100", "did you mean 'cifar10'?"), ("my photo", "did you mean 'my photos'?"), ("no/such/folder", NOWHERE)],
)
def test_an_unknown_name_is_refused(name: str, remedy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my photos").mkdir()
    with pytest.raises(QnasError) as error:
        find_data(name)
    assert str(error.value) == f"A data set is digits, fashion, cifar10 or a folder of images, got {name!r}; {remedy}"


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(QnasError, match="or a folder of images"):
        find_data(str(tmp_path / "file"))


@pytest.mark.parametrize(("data", "space"), [("digits", "tiny"), ("cifar10", "cifar"), ("/some/folder", "cifar")])
def test_every_data_set_has_a_shipped_space(data: str, space: str) -> None:
    assert default_space(data) == space
    assert space in space_names()


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


@pytest.fixture
def photos(tmp_path: Path) -> str:
    """Class folders of images that are 20 pixels wide and 10 high."""
    for name in ("a", "b"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (20, 10), number).save(tmp_path / "photos" / name / f"{number}.png")
    return str(tmp_path / "photos")


@pytest.mark.parametrize(
    ("image", "shape", "typed"),
    [
        ("", (10, 20), ""),
        ("16", (16, 16), "16x16"),
        (7, (7, 7), "7x7"),
        ("24x16", (24, 16), "24x16"),
        ((9, 30), (9, 30), "9x30"),
    ],
)
def test_a_size_is_height_and_width(photos: str, image: Size, shape: tuple[int, int], typed: str) -> None:
    data = with_size(photos, image)
    assert find_data(data).task.image == (1, *shape)
    assert arguments(data) == f"data={photos!r}" + (f", image={typed!r}" if typed else "")


@pytest.mark.parametrize("image", ["0", "2", "2000", "5000", "64x3", "0x0", "-5", "64 x 48", "48x64x3", "big", (3, 64)])
def test_a_size_out_of_range_is_refused(photos: str, image: Size) -> None:
    with pytest.raises(QnasError, match=r"Images are 4 to 1024 pixels high and wide, got .*; give `image=64`, or"):
        check_data(with_size(photos, image))


@pytest.mark.parametrize("tail", ["@0", "@64x3"])
def test_a_size_out_of_range_that_settings_have_is_refused(photos: str, tail: str) -> None:
    with pytest.raises(QnasError, match="Images are 4 to 1024 pixels high and wide"):
        find_data(f"{photos}{tail}")


@pytest.mark.parametrize("kind", ["digits", "cifar10", "idx"])
def test_images_of_a_size_of_their_own_get_no_other(tmp_path: Path, kind: str) -> None:
    place = tmp_path / kind
    if kind == "cifar10":
        put_cifar10(place)
    elif kind == "idx":
        place.mkdir()
        (place / "train-images-idx3-ubyte").write_bytes(b"")
    data = kind if kind == "digits" else str(place)
    with pytest.raises(QnasError, match=r"are as large as they are, got a size of 48x64; leave `image` out, or give"):
        check_data(with_size(data, "48x64"))


def test_a_folder_gets_one_size(photos: str) -> None:
    with pytest.raises(QnasError, match=r"Images get one size, got 48x64 in .* and `image='32'`; leave one out"):
        with_size(f"{photos}@64x48", "32")


def test_a_folder_that_is_called_like_another_with_a_size_is_told_apart(photos: str) -> None:
    Path(f"{photos}@64x48").mkdir()
    with pytest.raises(QnasError, match=r"photos@64x48' stands for one of its own; rename it"):
        with_size(photos, "48x64")


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


def test_a_table_leads_to_its_folder(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").touch()
    with pytest.raises(
        QnasError, match=re.escape(f"got '{tmp_path}/labels.csv'; give the folder that holds it, '{tmp_path}', as")
    ):
        check_data(str(tmp_path / "labels.csv"))
