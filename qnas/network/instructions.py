"""How many instructions a Cortex-M4 executes for one image, in closed form, before any code is there.

The exported C code is loops, and how often each turns follows from the plan: this counts them, kernel by kernel as
``qnas/exporters/kernels.c`` has them. What a turn takes was fitted to an emulator's counts
(``benchmarks/instructions.py``).
"""

import json
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from qnas.network.outline import outline
from qnas.network.plan import Kind, Node, Plan
from qnas.quant.scheme import Bits, container

TABLE = Path(__file__).with_name("instructions.json")
"""Instructions a turn, by kernel and loop, as ``benchmarks/instructions.py`` writes them."""
MILLION = 1e6
BLOCK, LANES, CHANNELS = 4, 8, 16
"""Output channels whose weights a convolution unpacks at once, each padded to a multiple of so many; channels that
depthwise layers and pools compute at once."""
Counts = Counter[str]


def instructions(plan: Plan) -> float:
    """Millions of instructions of one image, for a quantized plan; 0 for one with layers in FP32."""
    return round(sum(layer_instructions(plan)) / MILLION, 6)


def layer_instructions(plan: Plan) -> list[float]:
    """The instructions of every node, none for the image, nor where layers are in FP32."""
    found = [0.0] * len(plan.nodes)
    if any(node.bits.is_float for node in plan.nodes[1:]):
        return found
    prices = _prices()
    for position, kernel, counts in layer_counts(plan):
        found[position] += spent(prices[kernel], counts)
    return found


def spent(prices: Mapping[str, float], turns: Mapping[str, int]) -> float:
    """What so many turns take, at instructions a turn, by loop; loops without a price take none."""
    return sum(prices.get(loop, 0.0) * count for loop, count in turns.items())


@cache
def _prices() -> dict[str, dict[str, float]]:
    prices: dict[str, dict[str, float]] = json.loads(TABLE.read_text(encoding="utf-8"))
    return prices


def layer_counts(plan: Plan) -> list[tuple[int, str, Counts]]:
    """The position of every node but the image, its kernel, and how often each loop of that turns.

    A node is there as often as it is computed (``qnas.network.outline``).
    """
    nodes = plan.nodes
    return [
        (step.position, *_counts(step.kind, step.node, [nodes[source] for source in step.node.inputs]))
        for step in outline(plan)[1:]
    ]


def _counts(kind: Kind, node: Node, sources: list[Node]) -> tuple[str, Counts]:
    channels, height, width = node.shape
    inner, outputs = sources[0].shape[0], channels * height * width
    taps, blocks = node.kernel**2, -(-channels // CHANNELS)
    counts = Counter({"layers": 1, "rows": height, "outputs": outputs})
    if node.quantized or kind == "sum":
        counts[f"placed {container(node.bits.activations)}"] = outputs
    match kind:
        case "conv" if node.groups == 1:
            fours = height * -(-channels // BLOCK)
            pairs = fours * -(-width // 2)
            counts |= {"fours": fours, "pairs": pairs, "products": pairs * -(-taps * inner // LANES) * LANES}
            counts |= _weights(node.bits, height * channels, taps * inner)
            return "convolve", counts + _columns(node, sources[0], 1)
        case "conv":
            counts |= {"windows": blocks * height * width, "products": taps * outputs}
            counts |= _weights(node.bits, height * blocks * taps, channels / blocks)
            return "filter", counts + _columns(node, sources[0], blocks)
        case "avg_pool" | "max_pool":
            counts |= {"windows": blocks * height * width, "products": taps * outputs}
            kernel = "average" if kind == "avg_pool" else "maximum"
            return kernel, counts + _columns(node, sources[0], blocks)
        case "global_avg":
            _, height, width = sources[0].shape
            return "average_all", counts + _loaded(sources[0], blocks * height * width, channels / blocks)
        case "linear":
            counts |= _weights(node.bits, channels, inner)
            return "connect", counts + _loaded(sources[0], 1, inner) + Counter(products=channels * inner)
        case _:
            for source in sources:
                counts += _loaded(source, height, source.shape[0] * width)
            return "add" if kind == "sum" else "concatenate", counts


def _weights(bits: Bits, calls: int, each: float) -> Counts:
    """Weights that are unpacked, so many a call."""
    return Counter({"weight calls": calls, f"weights {container(bits.weights)}": round(calls * each)})


def _loaded(source: Node, calls: int, each: float) -> Counts:
    """Values that are unpacked, so many a call; those of the image are looked up."""
    kind = "image" if source.kind == "input" else str(container(source.bits.activations))
    return Counter({"loads": calls, f"loaded {kind}": round(calls * each)})


def _columns(node: Node, source: Node, blocks: int) -> Counts:
    """What is loaded to lie under a kernel, row by row, so many blocks of channels one after another."""
    channels, high, wide = source.shape
    height = node.shape[1]
    if node.kernel == 1 and blocks == 1:
        return _loaded(source, height, wide * channels)
    rows = sum(
        0 <= row * node.stride + tap * node.dilation - node.padding < high
        for tap in range(node.kernel)
        for row in range(height)
    )
    pixels = blocks * rows * wide
    everywhere = blocks * height * node.kernel * (wide + 2 * node.padding)
    beyond = Counter({"filled": everywhere - pixels, "filled values": (everywhere - pixels) * channels // blocks})
    return _loaded(source, pixels, channels / blocks) + beyond
