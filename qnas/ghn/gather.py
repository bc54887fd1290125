"""Decodes all tensors at the decoder's own size and gathers what is wanted of them: few and large operations.

The processor computes each decoded shape on its own, which multiplies less (``qnas.ghn.model``). A GPU hardly notices
the products, but every shape costs it a hundred launches, most of them for gradients.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qnas.devices import sent_to
from qnas.ghn.decoder import ConvDecoder

ALIGNED = 32
"""A parameter begins at a multiple of so many numbers."""


def corners(conv: ConvDecoder, states: Tensor, shapes: Sequence[tuple[int, ...]], factors: Tensor) -> list[Tensor]:
    """Weights of the wanted shapes (Cout, Cin, k, k), each times its factor, from states (weights, hidden)."""
    decoded = conv(states, conv.channels, conv.channels, conv.kernel).permute(0, 3, 4, 1, 2)  # as it lies in memory
    one = prod(decoded.shape[1:])
    places = [n * one + corner(*shape[:3], conv.kernel, conv.channels) for n, shape in enumerate(shapes)]
    counts = sent_to(torch.tensor([place.size for place in places]), states.device)
    each = factors.repeat_interleave(counts, output_size=sum(place.size for place in places))
    return gathered(decoded.flatten(), places, each)


def gathered(flat: Tensor, places: Sequence[NDArray[np.int64]], factors: Tensor | None = None) -> list[Tensor]:
    """The entries of a tensor at each of ``places``, in their shapes, all of them times ``factors`` where given.

    A handful of launches, forward and backward.
    """
    sizes = [place.size for place in places]
    where = sent_to(torch.from_numpy(np.concatenate([place.ravel() for place in places])), flat.device)
    entries = flat.index_select(0, where)
    if factors is not None:
        entries = entries * factors
    parts = _Aligned.apply(entries, sizes)  # type: ignore[no-untyped-call]
    return [part.view(place.shape) for part, place in zip(parts, places, strict=True)]


class _Aligned(torch.autograd.Function):
    """Splits a vector into copies that begin where libraries of convolutions read several numbers at once."""

    @staticmethod
    def forward(ctx: Any, vector: Tensor, sizes: list[int]) -> tuple[Tensor, ...]:
        starts = [0, *accumulate(-(-size // ALIGNED) * ALIGNED for size in sizes)]
        copies = vector.new_empty(starts[-1])
        parts = tuple(copies[start : start + size] for start, size in zip(starts, sizes, strict=False))
        torch._foreach_copy_(parts, vector.split(sizes))
        return parts

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return torch.cat(gradients), None


@lru_cache(maxsize=4096)
def corner(rows: int, columns: int, kernel: int, side: int, channels: int) -> NDArray[np.int64]:
    """Where (rows, columns, kernel, kernel) first entries lie in memory of (side, side, channels, channels)."""
    pixels = np.arange(kernel)[:, None] * side + np.arange(kernel)
    pairs = np.arange(rows)[:, None] * channels + np.arange(columns)
    places: NDArray[np.int64] = pixels * channels * channels + pairs[:, :, None, None]
    return places
