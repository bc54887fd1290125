"""What the exported C code takes of a device's memory, in closed form, before any code is there. Imports no torch.

Flash holds constants: packed weights, biases, what accumulators are multiplied with, and the table of pixels. RAM holds
the arena, in which outputs and what steps need beside them lie (``qnas.network.arena``), the image and the logits. All
of it follows from shapes and widths, so that the code takes what is counted here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import NamedTuple

from qnas.network.arena import Buffer, placed
from qnas.network.costs import BIAS_BYTES, Costs, costs
from qnas.network.instructions import BLOCK, CHANNELS, LANES, instructions
from qnas.network.outline import LOGIT_BITS, Outline, outline
from qnas.network.plan import Plan
from qnas.quant.choices import POWERS, USUAL
from qnas.quant.scheme import container

PIXELS = 256
"""Values of a pixel, each of which has an entry in a table."""
FACTOR_BYTES, SHIFT_BYTES = 5, 1
"""Of a multiplier and its shift, and of the shift alone."""


class Memory(NamedTuple):
    """Bytes that an exported network takes: constants beside the code; static memory with one image and the logits."""

    flash: int
    ram: int


def memory(plan: Plan, grid: str = USUAL, quick: bool = False) -> Memory:
    """What the C code of a quantized plan takes; nothing for one with layers in FP32.

    Args:
        plan: of the network.
        grid: of its numbers, one of ``qnas.quant.choices.GRIDS``; on that of powers of two layers only shift.
        quick: whether a bound of its RAM is enough, a few per cent above it (``qnas.network.arena.placed``).
    """
    if any(node.bits.is_float for node in plan.nodes[1:]):
        return Memory(0, 0)
    steps = outline(plan)
    factor = SHIFT_BYTES if grid == POWERS else FACTOR_BYTES
    flash = steps[0].shape[0] * PIXELS + sum(_numbers(step, plan, factor) for step in steps[1:])
    return Memory(flash, Layout.of(steps, quick).arena + prod(steps[0].shape) + plan.classes * LOGIT_BITS // 8)


def costs_in_c(plan: Plan, grid: str = USUAL) -> Costs:
    """All costs of a plan that have a closed form, those of the exported C code on a grid too."""
    taken = memory(plan, grid)
    return replace(costs(plan), instructions=instructions(plan), flash=taken.flash, ram=taken.ram)


def _numbers(step: Outline, plan: Plan, factor: int) -> int:
    """Bytes of a step's constants; a layer has so many for what an output channel is multiplied with."""
    node, channels = step.node, step.shape[0]
    match node.kind:
        case "conv" | "linear":
            each = plan.nodes[node.inputs[0]].shape[0] // node.groups * node.kernel**2
            together = channels if node.groups > 1 else 1
            packed = channels // together * -(-together * each * container(node.bits.weights) // 8)
            return packed + channels * (factor + BIAS_BYTES)
        case "max_pool":
            return 0
        case "avg_pool":
            return node.kernel**2 * FACTOR_BYTES + BIAS_BYTES
        case "sum" | "concat":
            return len(step.inputs) * FACTOR_BYTES + BIAS_BYTES
        case _:
            return FACTOR_BYTES + BIAS_BYTES


@dataclass(frozen=True)
class Layout:
    """Where every step's output and scratch memory begin in the arena, by the step's position, and its bytes."""

    outputs: dict[int, int]
    scratch: dict[int, int]
    arena: int

    @classmethod
    def of(cls, steps: Sequence[Outline], quick: bool = False) -> "Layout":
        """The layout of a network's steps; image and logits are the caller's."""
        inner = range(1, len(steps) - 1)
        last = {source: place for place, step in enumerate(steps) for source in step.inputs}
        places = {place: number for number, place in enumerate(inner)}
        buffers = [
            Buffer(
                even(row_bytes(steps[place]) * steps[place].shape[1]),
                place,
                last.get(place, place),
                tuple(
                    (places[source], lead(steps[place], steps[source]))
                    for source in set(steps[place].inputs)
                    if source and last[source] == place
                ),
            )
            for place in inner
        ]
        buffers += [Buffer(even(scratch_bytes(steps, place)), place, place) for place in range(1, len(steps))]
        starts, arena = placed(buffers, quick)
        outputs, rest = starts[: len(inner)], starts[len(inner) :]
        return cls(dict(zip(inner, outputs, strict=True)), dict(enumerate(rest, 1)), arena)


def even(size: int) -> int:
    """The next even number."""
    return size + size % 2


def row_bytes(step: Outline) -> int:
    """Bytes of one row of a step's output."""
    channels, _, width = step.shape
    return -(-channels * width * container(step.bits) // 8)


def lead(step: Outline, source: Outline) -> int:
    """By how many bytes a step's output must begin before what it reads for the last time to overwrite none too early.

    Output row r is written when the input rows under its kernel have been read, and leaves those of later rows alone.
    """
    node, (made, read) = step.node, (row_bytes(step), row_bytes(source))
    reach = node.dilation * (node.kernel // 2) if step.kind != "global_avg" else 0
    needed = [
        (row + 1) * made - max(0, (row + 1) * node.stride - reach) * read for row in range(step.shape[1] - 1)
    ] or [-source.shape[1] * read]
    return max(needed) + max(needed) % 2


def scratch_bytes(steps: Sequence[Outline], place: int) -> int:
    """Bytes that a step needs beside its inputs and its output."""
    step = steps[place]
    sources = [steps[source].shape for source in step.inputs]
    channels, _, width = sources[0]
    node, block = step.node, min(channels, CHANNELS)
    phase = -(-(width + node.dilation * (node.kernel - 1)) // node.dilation)
    columns, row = node.dilation * phase * node.kernel, step.shape[0] * step.shape[2]
    apart = row if step.bits < LOGIT_BITS and container(step.bits) < 8 else 0
    match step.kind:
        case "conv" if node.groups == 1:
            return 2 * (BLOCK * -(-(node.kernel**2) * channels // LANES) * LANES + columns * channels + LANES) + apart
        case "conv":
            return 2 * (node.kernel**2 + columns) * block + row
        case "avg_pool" | "max_pool":
            return 2 * columns * block + row
        case "sum":
            return 2 * 2 * row + apart
        case "concat":
            return even(row) + 2 * width * max(shape[0] for shape in sources)
        case "global_avg":
            return row
        case _:
            return 2 * 2 * channels
