"""Decodes all tensors at the decoder's own size and gathers what is wanted of them: few and large operations.

The processor computes each decoded shape on its own, which multiplies less (``qnas.ghn.model``). A GPU hardly notices
the products, but every shape costs it a hundred launches, most of them for gradients.
"""

from collections.abc import Sequence
from functools import lru_cache
from math import prod

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qnas.devices import sent_to
from qnas.ghn.decoder import ConvDecoder


def corners(conv: ConvDecoder, states: Tensor, shapes: Sequence[tuple[int, ...]], factors: Tensor) -> list[Tensor]:
    """Weights of the wanted shapes (Cout, Cin, k, k), each times its factor, from states (weights, hidden)."""
    decoded = conv(states, conv.channels, conv.channels, conv.kernel).permute(0, 3, 4, 1, 2)  # as it lies in memory
    one = prod(decoded.shape[1:])
    places = [n * one + corner(*shape[:3], conv.kernel, conv.channels) for n, shape in enumerate(shapes)]
    counts = sent_to(torch.tensor([place.size for place in places]), states.device)
    each = factors.repeat_interleave(counts, output_size=sum(place.size for place in places))
    return gathered(decoded.flatten(), places, each)


def gathered(flat: Tensor, places: Sequence[NDArray[np.int64]], factors: Tensor | None = None) -> list[Tensor]:
    """The entries of a tensor at each of ``places``, in their shapes, all of them times ``factors`` where given."""
    where = np.concatenate([place.ravel() for place in places])
    entries = flat.index_select(0, sent_to(torch.from_numpy(where), flat.device))
    if factors is not None:
        entries = entries * factors
    parts = entries.split([place.size for place in places])
    return [part.view(place.shape) for part, place in zip(parts, places, strict=True)]


@lru_cache(maxsize=4096)
def corner(rows: int, columns: int, kernel: int, side: int, channels: int) -> NDArray[np.int64]:
    """Where (rows, columns, kernel, kernel) first entries lie in memory of (side, side, channels, channels)."""
    pixels = np.arange(kernel)[:, None] * side + np.arange(kernel)
    pairs = np.arange(rows)[:, None] * channels + np.arange(columns)
    places: NDArray[np.int64] = pixels * channels * channels + pairs[:, :, None, None]
    return places
