"""Image files as people have them, as 8-bit pixels of one size: upright, alpha over white, grey where all are grey."""

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from qnas.errors import QnasError, printable
from qnas.runs.progress import counted
from qnas.task import Task

RESAMPLING = Image.Resampling.BICUBIC
"""With antialiasing, as Pillow does it."""
MOST_PIXELS, LARGE = 1 << 25, 1 << 22
"""Pixels of an image as it is decoded, and those above which one is decoded at a time."""
DRAFT = 2
"""A JPEG is decoded at no more than about so many times the size that is wanted."""
MODES = {1: "L", 3: "RGB"}
"""Pillow's modes of images of so many channels."""
ORIENTATION, LYING = 274, (5, 6, 7, 8)
"""The EXIF tag of how an image is turned, and its values where width and height change places."""
SHOWN = 20
"""Unreadable files that an error names."""
_one_large = Lock()
PREPARED = 1
"""The version of how images are prepared: pixels that are kept are made anew where it is another."""
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
        found = list(counted(pool.map(read, files), len(files), "Read"))
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
                return eight_bit(image)


def upright_size(path: Path) -> tuple[int, int] | None:
    """Width and height of an image file as it is looked at; nothing if it cannot be read."""
    with warnings.catch_warnings(), suppress(*DAMAGE):
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # which reading refuses
        with Image.open(path) as image:
            width, height = image.size
            turned = (
                image.format != "TIFF" and image.getexif().get(ORIENTATION, 1) in LYING
            )  # Pillow turns those itself
            return (height, width) if turned else (width, height)
    return None


def eight_bit(image: Image.Image) -> Image.Image:
    """An opened image file's first frame, upright, alpha over white, in grey (L) or colour (RGB) of 8 bits."""
    depth = getattr(image, "tag_v2", {}).get(258, (16,))[0]  # of a TIFF file: 12 or 16 bits
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError("its values are floating-point numbers; save it with 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.float64) * 255 / ((1 << depth) - 1)
        return Image.fromarray(np.clip(np.round(values), 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        ground = Image.new("RGBA", image.size, "white")
        ground.alpha_composite(image.convert("LA" if image.mode == "La" else "RGBA").convert("RGBA"))
        image = ground
    grey = image.mode in ("1", "L")
    if image.mode in ("P", "RGBA"):  # which have no mode of grey
        red, green, blue = (band.tobytes() for band in image.convert("RGB").split())
        grey = red == green == blue
    return image.convert("L" if grey else "RGB")


def preparation(task: Task) -> dict[str, Any]:
    """How an image file becomes what networks of a task see, as plain values.

    Returns:
        ``mode``: Pillow's, nothing where no image file has so many channels; ``resize``: its filter; ``draft``: a JPEG
        is decoded at no more than about so many times the longer side; ``highest``: what white is in 8-bit steps;
        ``mean`` and ``deviation``: of each channel, likewise.
    """
    how = {"mode": MODES.get(task.image[0]), "resize": RESAMPLING.name, "draft": DRAFT}
    return {**how, "highest": task.highest, "mean": task.mean, "deviation": task.deviation}


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
