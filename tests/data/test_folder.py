"""Folders of class folders of images, written with Pillow and read back."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from qnas.data import folder
from qnas.data.folder import KEPT_FROM, image_folder, usual_size
from qnas.data.images import DataSet
from qnas.data.listing import list_images
from qnas.data.pixels import read_image, read_images, upright_size
from qnas.errors import QnasError

RED, GREY = (200, 10, 30), 77


def write_class(folder: Path, count: int, colour: tuple[int, int, int] | int = GREY, side: int = 12) -> None:
    """Images of one colour, each a little brighter in the corner so that no two are alike."""
    folder.mkdir(parents=True, exist_ok=True)
    grey = isinstance(colour, int)
    for number in range(count):
        image = Image.new("L" if grey else "RGB", (side, side), colour)
        image.putpixel((0, 0), number if grey else (number, number, number))
        image.save(folder / f"{number:03}.png")


def parts(data: DataSet) -> list[int]:
    return [len(data.train), len(data.validation), len(data.test)]


def test_grey_images_have_one_channel(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20)
    assert image_folder(tmp_path).task.image == (1, 12, 12)


def test_colour_images_have_three_channels(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20, RED)
    assert image_folder(tmp_path).task.image == (3, 12, 12)


def test_one_colour_image_among_grey_ones_makes_all_of_them_colour(tmp_path: Path) -> None:
    write_class(tmp_path / "a", 20)
    write_class(tmp_path / "b", 20)
    write_class(tmp_path / "b", 1, RED)
    data = image_folder(tmp_path)
    assert data.task.image == (3, 12, 12)
    grey = data.train.pixels[data.train.labels == 0][:, :, 6, 6]
    assert grey.unique().tolist() == [GREY]


def test_pixels_keep_their_colours_in_the_order_red_green_blue(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20, RED)
    assert image_folder(tmp_path).test.pixels[0, :, 6, 6].tolist() == list(RED)


def test_pixels_of_the_wanted_size_are_unchanged(tmp_path: Path) -> None:
    arrays = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    for number, array in enumerate(arrays):
        folder = tmp_path / "ab"[number % 2]
        folder.mkdir(exist_ok=True)
        Image.fromarray(array).save(folder / f"{number}.png")
    data = image_folder(tmp_path, (8, 8))
    found = torch.cat([data.train.pixels, data.validation.pixels, data.test.pixels]).permute(0, 2, 3, 1).numpy()
    assert sorted(image.tobytes() for image in found) == sorted(image.tobytes() for image in arrays)


def test_images_of_several_sizes_get_one(tmp_path: Path) -> None:
    write_class(tmp_path / "a", 20, side=5)
    write_class(tmp_path / "b", 20, side=50)
    assert image_folder(tmp_path, (12, 16)).task.image == (1, 12, 16)


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ([(28, 28)] * 3, (28, 28)),
        ([(28, 28), (28, 28), (500, 400)], (28, 28)),
        ([(640, 480)] * 2 + [(480, 640)], (48, 64)),
        ([(4000, 3000)] * 3, (48, 64)),
        ([(6000, 4000)] * 3, (40, 64)),
        ([(475, 483)], (64, 64)),
        ([(300, 3)] * 3, (8, 64)),
        ([(30, 22)], (22, 30)),
    ],
    ids=str,
)
def test_the_usual_size_is_the_median_in_proportion_and_at_most_64_pixels(
    sizes: list[tuple[int, int]], expected: tuple[int, int]
) -> None:
    assert usual_size([None, *sizes]) == expected


def test_the_size_of_an_image_is_that_of_the_upright_one(tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[274] = 6
    Image.new("L", (48, 24)).save(tmp_path / "a.jpg", exif=turned)
    Image.new("L", (48, 24)).save(tmp_path / "a.tif", exif=turned)
    assert [upright_size(tmp_path / name) for name in ("a.jpg", "a.tif")] == [(24, 48), (24, 48)]
    assert read_image(tmp_path / "a.tif").size == (24, 48)


def test_pixels_of_many_bytes_are_decoded_once_until_a_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "qnas")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a", "b"):
        write_class(tmp_path / "images" / name, 20, RED)
    large = tmp_path / "images" / "a" / "000.png"
    large.write_bytes(large.read_bytes() + b"\x00" * KEPT_FROM)
    plain = image_folder(tmp_path / "images", (12, 12))
    again = image_folder(tmp_path / "images", (12, 12))
    assert torch.equal(plain.train.pixels, again.train.pixels)
    assert caplog.text.count("Decoding 40 images") == 1
    Image.new("RGB", (12, 12)).save(tmp_path / "images" / "b" / "001.png")
    changed = image_folder(tmp_path / "images", (12, 12))
    assert changed.fingerprint != plain.fingerprint
    assert caplog.text.count("Decoding 40 images") == 2


@pytest.mark.parametrize("extra", [0, KEPT_FROM], ids=["few bytes", "many bytes"])
def test_an_image_that_changes_while_it_is_read_is_refused_and_nothing_kept_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, extra: int
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("a", "b"):
        write_class(tmp_path / "images" / name, 20, RED)
    first = tmp_path / "images" / "a" / "000.png"
    first.write_bytes(first.read_bytes() + b"\x00" * extra)
    content = first.read_bytes()

    def changing(files: Sequence[Path], size: tuple[int, int]) -> NDArray[np.uint8]:
        Image.new("RGB", (12, 12)).save(first)
        return read_images(files, size)

    with monkeypatch.context() as patched:
        patched.setattr(folder, "read_images", changing)
        with pytest.raises(QnasError, match=r"^Images stay as they are .*a/000\.png changed; the same command"):
            image_folder(tmp_path / "images", (12, 12))
    first.write_bytes(content)
    data = image_folder(tmp_path / "images", (12, 12))
    middles = [part.pixels[:, :, 6, 6] for part in (data.train, data.validation, data.test)]
    assert torch.cat(middles).unique(dim=0).tolist() == [list(RED)]


def test_without_a_test_folder_a_fifth_is_for_testing_and_a_fifth_of_the_rest_for_scoring(tmp_path: Path) -> None:
    write_class(tmp_path / "a", 50)
    write_class(tmp_path / "b", 100)
    data = image_folder(tmp_path)
    assert parts(data) == [96, 24, 30]
    shares = [part.labels.float().mean().item() for part in (data.train, data.validation, data.test)]
    assert shares == pytest.approx([2 / 3] * 3, abs=0.03)


def test_with_train_and_test_folders_the_test_images_are_those_of_test(tmp_path: Path) -> None:
    for name, colour in (("a", 10), ("b", 20)):
        write_class(tmp_path / "train" / name, 20, colour)
        write_class(tmp_path / "test" / name, 10, colour + 100)
    data = image_folder(tmp_path)
    assert parts(data) == [32, 8, 20]
    centres = data.test.pixels[:, 0, 6, 6]
    assert sorted(centres.unique().tolist()) == [110, 120]
    assert torch.equal(centres == 120, data.test.labels == 1)


def test_classes_are_named_after_their_folders_in_order(tmp_path: Path) -> None:
    for name, colour in (("zebra", 30), ("ant", 10), ("cat", 20)):
        write_class(tmp_path / name, 10, colour)
    (tmp_path / ".hidden").mkdir()
    data = image_folder(tmp_path)
    assert data.task.names == ("ant", "cat", "zebra")
    centres = data.train.pixels[:, 0, 6, 6].long()
    assert torch.equal(centres, 10 * (data.train.labels + 1))


def test_the_parts_are_always_the_same(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20)
    first, again = (image_folder(tmp_path) for _ in range(2))
    assert torch.equal(first.train.pixels, again.train.pixels)
    assert torch.equal(first.test.pixels, again.test.pixels)


def test_images_lie_in_folders_below_the_class_folder_too(tmp_path: Path) -> None:
    write_class(tmp_path / "a" / "part1", 10)
    write_class(tmp_path / "a" / "part2", 10)
    write_class(tmp_path / "b", 20)
    assert sum(parts(image_folder(tmp_path))) == 40


def test_the_data_set_is_named_after_the_folder(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / "flowers" / name, 10)
    assert image_folder(tmp_path / "flowers").name == "flowers"


def test_sixteen_bit_grey_images_keep_their_brightness(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            array = np.full((8, 8), 128 * 257, np.uint16)  # half of white
            array[0, 0] = 257 * number
            Image.fromarray(array).save(tmp_path / name / f"{number}.png")
    pixels = image_folder(tmp_path, (8, 8)).train.pixels
    assert pixels[:, :, 4:].unique().tolist() == [128]


def test_one_class_is_refused(tmp_path: Path) -> None:
    write_class(tmp_path / "only", 20)
    with pytest.raises(QnasError, match=r"at least two classes, got 1 in .*; sort the images into folders"):
        image_folder(tmp_path)


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match="at least two classes, got 0 in"):
        image_folder(tmp_path)


def test_too_few_images_are_refused(tmp_path: Path) -> None:
    write_class(tmp_path / "a", 20)
    write_class(tmp_path / "b", 9)
    with pytest.raises(QnasError, match=r"at least 10 images .*, got 9 of 'b' in .*; add some, or remove the class"):
        image_folder(tmp_path)


def test_a_class_without_test_images_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / "train" / name, 20)
    write_class(tmp_path / "test" / "a", 10)
    with pytest.raises(QnasError, match=r"at least 1 images .*, got 0 of 'b' in the test part of .*; add some"):
        image_folder(tmp_path)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\x89PNG\r\n\x1a\n" + b"\x00" * 40], ids=repr)
def test_an_unreadable_image_is_refused(tmp_path: Path, content: bytes) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20)
    bad = tmp_path / "b" / "bad.png"
    bad.write_bytes(content)
    with pytest.raises(QnasError, match=r"must be readable, but .*bad.png is not .*; mend or remove it"):
        image_folder(tmp_path)


def test_an_image_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 20, side=40)
    path = tmp_path / "a" / "000.png"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(QnasError, match=r"must be readable, but .*000.png is not"):
        image_folder(tmp_path)


def test_images_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (8, 8), GREY).save(tmp_path / name / f"{number}.png")
    with pytest.raises(QnasError, match="differ from each other, got 20 that are all the same in"):
        image_folder(tmp_path)


@pytest.mark.parametrize(
    ("size", "told"),
    [
        ((1, 1), ["10 of 20 images have fewer than 8 pixels on a side (one has 1 x 1): there is little to see."]),
        ((20_000, 2), [
            "10 of 20 images have fewer than 8 pixels on a side (one has 2 x 20000): there is little to see.",
            "10 of 20 images lose their proportions, by 2 times or more, as all get 12 x 12 pixels (height x width).",
        ]),
        ((30, 16), []),
    ],
    ids=str,
)  # fmt: skip
def test_images_that_change_much_are_remarked_upon(tmp_path: Path, size: tuple[int, int], told: list[str]) -> None:
    write_class(tmp_path / "a", 10)
    (tmp_path / "b").mkdir()
    for number in range(10):
        Image.new("L", size, number).save(tmp_path / "b" / f"{number}.png")
    assert list(image_folder(tmp_path, (12, 12)).remarks[1:]) == told


def test_an_image_that_goes_while_the_folder_is_read_is_named(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_class(tmp_path / name, 10)
    files = [path for path, _ in list_images(tmp_path).parts["train"]]
    files[3].unlink()
    with pytest.raises(
        QnasError, match=r"003.png is not \(it has gone since the folder was listed\); mend or remove it."
    ):
        read_images(files, (8, 8))


@pytest.mark.parametrize("given", [("train",), ("train", "val"), ("train", "test"), ("train", "val", "test")])
def test_classes_are_mixed_in_every_part(tmp_path: Path, given: tuple[str, ...]) -> None:
    """Scores and calibrations look at the first images of a part."""
    for part in given:
        for grey, name in enumerate(("a", "b", "c")):
            write_class(tmp_path / part / name, 40, 50 * grey)
    data = image_folder(tmp_path)
    for images in (data.train, data.validation, data.test):
        first, last = images.labels[:12], images.labels[-12:]
        assert len(first.unique()) == len(last.unique()) == 3
        assert torch.equal(images.pixels[:, 0, 6, 6], 50 * images.labels)
    again = image_folder(tmp_path)
    assert torch.equal(again.validation.pixels, data.validation.pixels)
