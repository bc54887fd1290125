"""Pixels that took long to decode, kept between runs as a memory map, which processes share."""

from collections.abc import Callable
from contextlib import suppress
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

from qnas.resources import cache
from qnas.runs.files import write_bytes


def kept(name: str, decode: Callable[[], NDArray[np.uint8]]) -> NDArray[np.uint8]:
    """An array that is made once, and lies in ``~/.cache/qnas`` from then on, where that can be written.

    Args:
        name: of its file; says all that the array depends on.
        decode: makes it.
    """
    home = cache()
    if home is None:
        return decode()
    path = home / f"{name}.npy"
    with suppress(OSError, ValueError):
        found: NDArray[np.uint8] = np.load(path, mmap_mode="c")
        return found
    pixels = decode()
    with suppress(OSError):
        file = BytesIO()
        np.save(file, pixels)
        write_bytes(path, file.getvalue())
    return pixels
