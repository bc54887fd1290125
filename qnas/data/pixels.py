"""Image files as people have them, as 8-bit pixels of one size: upright, alpha over white, grey where all are grey."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from qnas.errors import QnasError, printable

RESAMPLING = Image.Resampling.BICUBIC
"""With antialiasing, as Pillow does it."""
MOST_PIXELS, LARGE = 1 << 25, 1 << 22
"""Pixels of an image as it is decoded, and those above which one is decoded at a time."""
DRAFT = 2
"""A JPEG is decoded at no more than about so many times the size that is wanted."""
BITS_PER_SAMPLE = 258
"""The tag of a TIFF file that tells 12-bit values from 16-bit ones."""
ORIENTATION, LYING = 274, (5, 6, 7, 8)
"""The EXIF tag of how an image is turned, and its values where width and height change places."""
SHOWN = 20
"""Unreadable files that an error names."""
_one_large = Lock()
DAMAGE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError, Warning)


def read_images(files: Sequence[Path], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Read image files.

    Args:
        files: one or more.
        size: height and width that all are brought to.

    Returns:
        (files, channels, height, width): one channel if all are grey, else red, green and blue.

    Raises:
        QnasError: some cannot be read; it names them all, up to ``SHOWN``, and why.
    """

    height, width = size

    def read(path: Path) -> Image.Image | str:
        try:
            return read_image(path, max(size)).resize((width, height), RESAMPLING)
        except DAMAGE as error:
            return f"{printable(str(path))} is not ({_reason(path, error)})"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        found = list(pool.map(read, files))
    bad = [one for one in found if isinstance(one, str)]
    if bad:
        several = "" if len(bad) == 1 else f" ({len(bad)} of {len(files)} are not)"
        more = f"\n... and {len(bad) - SHOWN} more" if len(bad) > SHOWN else ""
        lines = "\n".join(bad[:SHOWN]) + more
        raise QnasError(f"Every image file must be readable{several}, but {lines}; mend or remove it.")
    images = [one for one in found if isinstance(one, Image.Image)]
    mode = "L" if all(one.mode == "L" for one in images) else "RGB"
    pixels = np.stack([np.asarray(one.convert(mode)).reshape(height, width, -1) for one in images])
    return np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))


def read_image(path: Path, least: int = 0) -> Image.Image:
    """The first frame of an image file, upright, in grey (``L``) or colour (``RGB``) of 8 bits.

    Args:
        path: of the file.
        least: a large JPEG may be decoded at a smaller size, but no side below this; 0 for its own size.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        # by a file, for Pillow maps files that it has the name of into memory, where it turns TIFFs wrongly
        with path.open("rb") as file, Image.open(file) as image:
            if least:
                image.draft(None, (DRAFT * least, DRAFT * least))  # of JPEGs only
            pixels = image.width * image.height
            if pixels > MOST_PIXELS:
                raise ValueError(f"it has more than {MOST_PIXELS:,} pixels; make it smaller")
            with _one_large if pixels > LARGE else nullcontext():
                image.load()
                deepest = _deepest(image)
                return _eight_bit(ImageOps.exif_transpose(image), deepest)


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file as it is looked at; nothing if it cannot be read."""
    with suppress(*DAMAGE), Image.open(path) as image:
        width, height = image.size
        turned = image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) in LYING  # Pillow turns those itself
        return (height, width) if turned else (width, height)
    return None


def _deepest(image: Image.Image) -> int:
    """The largest value that a pixel of a file of more than 8 bits can have."""
    depths = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE, (16,))
    return int((1 << depths[0]) - 1)


def _eight_bit(image: Image.Image, deepest: int) -> Image.Image:
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) * 255 / deepest
        return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers; save it with 8 or 16 bits")
    if image.mode in ("LA", "La", "RGBA", "RGBa", "PA") or "transparency" in image.info:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("RGBA" if image.mode != "La" else "LA").convert("RGBA"))
        return ground.convert("L" if _is_grey(ground) else "RGB")
    return image.convert("L" if image.mode in ("1", "L") or (image.mode == "P" and _is_grey(image)) else "RGB")


def _is_grey(image: Image.Image) -> bool:
    """Whether red, green and blue are the same everywhere: files with alpha or a palette have no mode for that."""
    red, green, blue = image.convert("RGB").split()
    return red.tobytes() == green.tobytes() == blue.tobytes()


def _reason(path: Path, error: BaseException) -> str:
    """Why a file cannot be read, in a few words."""
    if path.is_file() and not path.stat().st_size:
        return "it is empty"
    if isinstance(error, FileNotFoundError):
        return "it has gone since the folder was listed"
    if isinstance(error, PermissionError):
        return "its permissions forbid to read it"
    if isinstance(error, UnidentifiedImageError):
        return "it is no image"
    if isinstance(error, Image.DecompressionBombError | Image.DecompressionBombWarning):
        return f"it has more than {Image.MAX_IMAGE_PIXELS:,} pixels; make it smaller"
    return (str(error).splitlines() or [type(error).__name__])[0].replace(str(path), "it")
