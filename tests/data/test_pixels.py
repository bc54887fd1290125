"""Pixels of image files as people see them, whatever the file's kind, each from a tiny file with a known pixel."""

import struct
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qnas.data.pixels import SHOWN, read_image, read_images
from qnas.errors import QnasError

WHITE, RED, HALF = 255, (200, 10, 30), (227, 132, 142)  # red of half alpha over white


def saved(folder: Path, image: Image.Image, ending: str, **how: object) -> Path:
    path = folder / f"image.{ending}"
    image.save(path, **how)  # type: ignore[arg-type]
    return path


def pixel(path: Path) -> tuple[str, object]:
    image = read_image(path)
    return image.mode, image.getpixel((1, 1))


def close(found: tuple[str, object], mode: str, expected: int | tuple[int, ...], off: int = 1) -> bool:
    return found[0] == mode and bool(np.all(np.abs(np.subtract(found[1], expected)) <= off))  # type: ignore[arg-type]


@pytest.mark.parametrize("ending", ["png", "webp", "tiff", "gif", "avif"])
def test_alpha_lies_over_white(tmp_path: Path, ending: str) -> None:
    alpha = 0 if ending == "gif" else 128  # a GIF's pixels are there or not
    image = Image.new("RGBA", (4, 4), (*RED, alpha))
    image.putpixel((0, 0), (0, 0, 0, 255))
    how = {"webp": {"lossless": True}, "avif": {"quality": 100, "subsampling": "4:4:4"}}.get(ending, {})
    expected = HALF if alpha else WHITE
    mode = "RGB" if alpha else "L"  # nothing of the red is left
    assert close(pixel(saved(tmp_path, image, ending, **how)), mode, expected)


def test_grey_with_alpha_stays_grey(tmp_path: Path) -> None:
    assert close(pixel(saved(tmp_path, Image.new("LA", (4, 4), (55, 128)), "png")), "L", 155)


def test_a_transparent_shade_of_grey_is_white(tmp_path: Path) -> None:
    assert close(pixel(saved(tmp_path, Image.new("L", (4, 4), 55), "png", transparency=55)), "L", WHITE, 0)


def test_palettes_become_their_colours(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 4), RED).convert("P", palette=Image.Palette.ADAPTIVE)
    assert close(pixel(saved(tmp_path, image, "png")), "RGB", RED, 2)


def test_a_palette_of_greys_is_grey(tmp_path: Path) -> None:
    image = Image.new("P", (4, 4), 100)
    image.putpalette([level for level in range(256) for _ in range(3)])
    for name in ("a.png", "a.gif"):
        image.save(tmp_path / name)
        found = read_image(tmp_path / name)
        assert (found.mode, found.getpixel((0, 0))) == ("L", 100)


def test_black_and_white_is_grey(tmp_path: Path) -> None:
    assert close(pixel(saved(tmp_path, Image.new("1", (4, 4), 1), "png")), "L", WHITE, 0)


@pytest.mark.parametrize("ending", ["jpg", "tiff"])
def test_inks_become_colours(tmp_path: Path, ending: str) -> None:
    image = Image.new("CMYK", (4, 4), (0, 255, 255, 0))
    assert close(pixel(saved(tmp_path, image, ending)), "RGB", (255, 0, 0), 4)


@pytest.mark.parametrize("ending", ["png", "tiff"])
def test_sixteen_bits_are_scaled_by_their_depth(tmp_path: Path, ending: str) -> None:
    image = Image.fromarray(np.full((4, 4), 0x8000, np.uint16))
    assert close(pixel(saved(tmp_path, image, ending)), "L", 128, 0)


def twelve_bits(value: int) -> bytes:
    """A TIFF file of 4 x 4 values of 12 bits, two in three bytes, uncompressed."""
    data = bytes([value >> 4, (value & 15) << 4 | value >> 8, value & 255]) * 8
    entries = {256: 4, 257: 4, 258: 12, 259: 1, 262: 1, 273: 8, 277: 1, 278: 4, 279: len(data)}
    fields = [(tag, 3, 1, number) for tag, number in entries.items()]  # 3: two bytes, of which there is one
    folder = b"".join(struct.pack("<HHIHxx", *entry) for entry in fields)
    head = b"II" + struct.pack("<HI", 42, 8 + len(data))
    return head + data + struct.pack("<H", len(fields)) + folder + bytes(4)


def test_twelve_bits_are_scaled_by_their_depth(tmp_path: Path) -> None:
    path = tmp_path / "image.tiff"
    path.write_bytes(twelve_bits(0x800))
    assert close(pixel(path), "L", 128, 0)


def test_images_are_upright(tmp_path: Path) -> None:
    image = Image.new("RGB", (4, 8), (0, 0, 0))
    image.paste(RED, (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by a quarter to the left: the top is on the right
    found = read_image(saved(tmp_path, image, "png", exif=exif))
    assert found.size == (8, 4)
    assert (found.getpixel((7, 0)), found.getpixel((0, 0))) == (RED, (0, 0, 0))


def test_of_a_moving_picture_the_first_frame_counts(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in (RED, (0, 0, 0))]
    path = saved(tmp_path, frames[0], "gif", save_all=True, append_images=frames[1:])
    assert close(pixel(path), "RGB", RED, 2)


def test_grey_stays_one_channel_unless_another_image_has_colours(tmp_path: Path) -> None:
    grey, colour = tmp_path / "grey.png", tmp_path / "colour.png"
    Image.new("L", (4, 4), 77).save(grey)
    Image.new("RGB", (4, 4), RED).save(colour)
    assert read_images([grey, grey], (4, 4)).shape == (2, 1, 4, 4)
    both = read_images([grey, colour], (4, 4))
    assert both[:, :, 1, 1].tolist() == [[77] * 3, list(RED)]


def test_large_jpegs_keep_their_looks_when_they_are_decoded_smaller(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(800), np.arange(800)) // 7
    path = saved(tmp_path, Image.fromarray(smooth.astype(np.uint8)), "jpg", quality=95)
    assert read_image(path, 32).size[0] <= 200
    small = read_images([path], (32, 32))[0, 0].astype(int)
    whole = np.asarray(Image.open(path).resize((32, 32), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(small - whole).max() <= 3


Damage = Callable[[Path], object]


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda path: path.write_bytes(b""), "it is empty"),
        (lambda path: path.write_bytes(b"no image"), "it is no image"),
        (lambda path: path.write_bytes(path.read_bytes()[:-40]), "truncated"),
        (
            lambda path: Image.fromarray(np.zeros((4, 4), np.float32)).save(path, "tiff"),
            "floating-point numbers; save it",
        ),
        (lambda path: Image.new("1", (13_500, 13_500)).save(path), r"more than [\d,]+ pixels; make it smaller"),
        (lambda path: Image.new("1", (9_500, 9_500)).save(path), r"more than [\d,]+ pixels; make it smaller"),
    ],
    ids=["empty", "text", "cut off", "floating point", "a bomb", "almost a bomb"],
)
def test_what_cannot_be_read_is_named_with_the_reason(tmp_path: Path, damage: Damage, reason: str) -> None:
    good, bad = tmp_path / "good.png", tmp_path / "bad.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 30), np.uint8)).save(good)
    bad.write_bytes(good.read_bytes())
    damage(bad)
    with pytest.raises(QnasError, match=rf"readable, but .*bad.png is not \(.*{reason}.*\); mend or remove it\.$"):
        read_images([good, bad], (8, 8))


def test_all_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    files = [tmp_path / f"{number:02}.png" for number in range(SHOWN + 7)]
    for path in files:
        path.touch()
    with pytest.raises(QnasError) as error:
        read_images(files, (8, 8))
    lines = str(error.value).splitlines()
    assert lines[0] == f"Every image file must be readable (27 of 27 are not), but {files[0]} is not (it is empty)"
    assert lines[-1] == "... and 7 more; mend or remove it."
    assert len(lines) == SHOWN + 1


def test_warnings_of_pillow_stay_inside(tmp_path: Path) -> None:
    path = saved(tmp_path, Image.new("L", (4, 4)), "png")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_image(path)
    assert not caught
