"""Weights and activations of which only the first tile is kept, because the others equal it.

A predicted weight with more channels than the hypernetwork decodes repeats along them, and so do the vectors beside it.
What such a layer computes repeats likewise: a network of hundreds of channels is computed at the width of one tile. A
dense layer that reads repeated channels reads their sum; one whose input does not repeat reads the sum of the input's
blocks of a tile's length. Both hold exactly after rounding too, which is done once for all tiles. A concatenation's
channels are tiles of each of its parts, which only dense layers and pools can read.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.devices import sent_to
from qnas.network.plan import Plan


def reduced(x: Tensor, weight: Tensor, channels_in: int) -> tuple[Tensor, Tensor]:
    """What a dense layer computes with where its input or its weight are tiles of ``channels_in`` channels.

    Args:
        x: (batch, c, ...): all channels, or the first tile, or the tiles of a concatenation's parts.
        weight: (Cout, m, ...): all columns, or those of the first tile.
        channels_in: how many channels and columns they stand for.

    Returns:
        An input and a weight of m channels each.
    """
    present, columns = x.shape[1], weight.shape[1]
    if present == columns == channels_in:
        return x, weight
    if present > columns:
        x = _sum_of_blocks(x, columns)
        return x, weight * (channels_in // present) if channels_in > present else weight
    times = sent_to(copies(columns, channels_in).to(weight.dtype), weight.device)
    return x, weight * times.view(1, -1, *[1] * (weight.dim() - 2))


def copies(length: int, channels: int) -> Tensor:
    """For how many channels each one of a first tile of that length stands: (length,)."""
    times, rest = divmod(channels, length)
    counts = torch.full((length,), float(times))
    counts[:rest] += 1
    return counts


def first_tiles_suffice(plan: Plan) -> bool:
    """Whether a plan can be computed from first tiles: whether dense layers and pools alone read its concatenations."""
    parted: set[int] = set()
    for place, node in enumerate(plan.nodes):
        reads = parted.intersection(node.inputs)
        if reads and (node.kind in ("sum", "concat") or node.groups > 1):
            return False
        if node.kind == "concat" or (reads and node.kind in ("max_pool", "avg_pool", "global_avg")):
            parted.add(place)
    return True


def _sum_of_blocks(x: Tensor, length: int) -> Tensor:
    total: Tensor
    total, *others = x.split(length, 1)
    for block in others:
        short = length - block.shape[1]
        total = total + (F.pad(block, [0, 0] * (x.dim() - 2) + [0, short]) if short else block)
    return total


def concatenated(parts: list[Tensor], channels: list[int]) -> Tensor:
    """The parts one after another, each standing for that many channels; repeated whole where tiles would not fit."""
    if any(count % part.shape[1] for part, count in zip(parts, channels, strict=True)):
        parts = [repeated(part, count) for part, count in zip(parts, channels, strict=True)]
    return torch.cat(parts, 1)


def repeated(x: Tensor, length: int, dimension: int = 1) -> Tensor:
    """All ``length`` entries along a dimension, of which ``x`` holds the first tile."""
    times, rest = divmod(length, x.shape[dimension])
    if (times, rest) == (1, 0):
        return x
    return torch.cat([x] * times + [x.narrow(dimension, 0, rest)] * (rest > 0), dimension)
