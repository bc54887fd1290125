"""Writes an integer network as C99: one source, one header, an example; no library, no allocation, no floats.

The kernels are ``kernels.c`` beside this file, of which a network gets what it uses. Weights are packed at 8, 4 or 2
bits, the next width that holds them, every output channel from a whole byte on, in the order in which windows lie in
memory: column, row, channel under the kernel. Activations likewise, every row from a whole byte on.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from qnas.exporters.onnx import packed
from qnas.network.deployed import DeployedNetwork
from qnas.network.integers import IntegerNetwork, Step, integer_network
from qnas.network.memory import Layout, Memory
from qnas.quant.fixed_point import Integers
from qnas.quant.scheme import container
from qnas.task import Task

SOURCE, HEADER, EXAMPLE = "model.c", "model.h", "main.c"
TEMPLATES = Path(__file__).parent
NUMBERS_A_LINE = 24
ONE = 1 << 30
"""The multiplier of a ratio that is a power of two."""


def write_c(network: DeployedNetwork, task: Task) -> dict[str, bytes]:
    """Source, header and example of a network, by the names of their files.

    Raises:
        QnasError: it cannot be computed in integers (``qnas.network.integers.integer_network``).
    """
    integers = integer_network(network, task)
    layout = Layout.of(integers.steps)
    sizes = {
        "arena": layout.arena,
        "constants": constant_bytes(integers),
        "classes": integers.steps[-1].shape[0],
        "scale": f"{integers.scale:.9g}",
        **dict(zip(("channels", "height", "width"), integers.steps[0].shape, strict=True)),
    }
    texts = {
        SOURCE: _source(integers, layout),
        HEADER: _filled("model.h", sizes),
        EXAMPLE: (TEMPLATES / EXAMPLE).read_text(encoding="ascii"),
    }
    return {name: text.encode("ascii") for name, text in texts.items()}


def memory_of_c(files: dict[str, bytes]) -> Memory:
    """What the header of exported code says: constants; and arena, one image and the logits."""
    defined = {name: int(value) for name, value in re.findall(r"#define QNAS_(\w+) (\d+)", files[HEADER].decode())}
    image = defined["HEIGHT"] * defined["WIDTH"] * defined["CHANNELS"]
    return Memory(defined["CONSTANT_BYTES"], defined["ARENA_BYTES"] + image + 4 * defined["CLASSES"])


def _filled(name: str, values: dict[str, object]) -> str:
    text = (TEMPLATES / name).read_text(encoding="ascii")
    return re.sub(r"@(\w+)@", lambda match: str(values[match[1]]), text)


def packed_weight(step: Step) -> NDArray[np.uint8]:
    """A layer's weights as its kernel reads them."""
    assert step.weight is not None
    width = container(step.node.bits.weights)
    ordered = (step.weight + step.weight_zero).transpose(0, 3, 2, 1)
    if step.node.groups > 1:
        return packed(ordered.transpose(1, 2, 3, 0).ravel(), width)
    return np.concatenate([packed(channel.ravel(), width) for channel in ordered])


def constant_bytes(network: IntegerNetwork) -> int:
    """Bytes of weights, multipliers, shifts, biases and the table of pixels."""
    total = network.table.size
    for step in network.steps:
        if step.rescaling is not None:
            each = 1 if only_shifts(step) else 5
            total += each * len(step.rescaling.multiplier) + 4 * len(step.rescaling.bias)
        total += 0 if step.weight is None else packed_weight(step).size
    return total


def only_shifts(step: Step) -> bool:
    """Whether a layer's accumulators are multiplied by powers of two alone: then no multiplier is written down."""
    return step.weight is not None and step.rescaling is not None and bool((step.rescaling.multiplier == ONE).all())


FUNCTIONS: dict[str, str] = {
    "conv": "convolve",
    "depthwise": "filter",
    "avg_pool": "average",
    "max_pool": "maximum",
    "sum": "add",
    "concat": "concatenate",
    "global_avg": "average_all",
    "linear": "connect",
}
"""The kernel of each kind of step."""


def function_of(step: Step) -> str:
    """The kernel that computes a step."""
    return FUNCTIONS["depthwise" if step.node.groups > 1 else step.kind]


def kernels(wanted: set[str]) -> str:
    """The text of so many kernels and of what they call."""
    text = (TEMPLATES / "kernels.c").read_text(encoding="ascii")
    parts = re.split(r"/\* == (\w+)(?:: ([\w, ]+))? == \*/\n", text)[1:]
    sections = {name: (needs, body) for name, needs, body in zip(parts[::3], parts[1::3], parts[2::3], strict=True)}
    left, kept = list(wanted), {"types"}
    while left:
        name = left.pop()
        kept.add(name)
        left += [needed for needed in re.findall(r"\w+", sections[name][0] or "") if needed not in kept]
    return "\n".join(body.strip("\n") + "\n" for name, (_, body) in sections.items() if name in kept)


def _source(network: IntegerNetwork, layout: Layout) -> str:
    used = {function_of(step) for step in network.steps[1:]}
    constants = [_array("uint8_t", "table", network.table.ravel())]
    constants += [text for place, step in enumerate(network.steps) for text in _constants(place, step, layout)]
    calls = [line for place, step in enumerate(network.steps[1:], 1) for line in _call(place, step)]
    body = ['#include "model.h"\n', kernels(used), "\n".join(constants), _classify(calls)]
    return "\n".join(body)


def _classify(calls: list[str]) -> str:
    lines = "\n".join(f"    {line}" for line in calls)
    return f"""int qnas_classify(const uint8_t *pixels, int32_t *logits)
{{
    int best = 0, i;

    image = pixels;
{lines}
    for (i = 1; i < QNAS_CLASSES; i++)
        best = logits[i] > logits[best] ? i : best;
    return best;
}}
"""


def _call(place: int, step: Step) -> Iterator[str]:
    """The lines that run a step."""
    inputs, function = [f"&t{source}" for source in step.inputs], function_of(step)
    yield f"QNAS_STEP({place}) /* {sanitized(step.name)} */"
    if step.kind == "linear":
        yield f"{function}({inputs[0]}, QNAS_CLASSES, &l{place}, logits);"
    elif step.kind == "concat":
        yield f"{function}(parts{place}, {len(inputs)}, &t{place}, &l{place});"
    else:
        yield f"{function}({', '.join(inputs)}, &t{place}, &l{place});"


def sanitized(name: str) -> str:
    """A layer's name as it may stand in a comment."""
    return re.sub(r"[^A-Za-z0-9_ ]", "_", name)


def _constants(place: int, step: Step, layout: Layout) -> Iterator[str]:
    """What a step is described by: its output, its numbers, and how it computes."""
    if step.kind != "linear":
        channels, height, width = step.shape
        table = "table" if step.kind == "input" else "NULL"
        fields = (layout.outputs.get(place, 0), height, width, channels, container(step.bits), step.highest)
        yield f"static const tensor t{place} = {{{', '.join(map(str, fields))}, {step.zero_point}, {table}}};"
    if step.kind == "input":
        return
    names = dict.fromkeys(("weights", "multiplier", "shift", "bias"), "NULL")
    for name, (kind, values) in _numbers(step).items():
        names[name] = f"{name}{place}"
        yield _array(kind, names[name], values)
    node, point = step.node, 0 if step.rescaling is None else step.rescaling.point
    bits = 0 if step.weight is None else container(node.bits.weights)
    numbers = (layout.scratch[place], node.kernel, node.stride, node.dilation, point, bits, step.weight_zero)
    yield f"static const layer l{place} = {{{', '.join([*map(str, numbers), *names.values()])}}};"
    if step.kind == "concat":
        parts = ", ".join(f"&t{source}" for source in step.inputs)
        yield f"static const tensor *const parts{place}[] = {{{parts}}};"


Numbers = tuple[str, Integers | NDArray[np.uint8]]


def _numbers(step: Step) -> dict[str, Numbers]:
    numbers: dict[str, Numbers] = {} if step.weight is None else {"weights": ("uint8_t", packed_weight(step))}
    if step.rescaling is not None:
        if not only_shifts(step):
            numbers["multiplier"] = "int32_t", step.rescaling.multiplier
        numbers["shift"] = "uint8_t", step.rescaling.shift
        numbers["bias"] = "int32_t", step.rescaling.bias
    return numbers


def _array(kind: str, name: str, values: Integers | NDArray[np.uint8]) -> str:
    numbers = [str(value) for value in values.tolist()]
    lines = [", ".join(numbers[start : start + NUMBERS_A_LINE]) for start in range(0, len(numbers), NUMBERS_A_LINE)]
    return f"static const {kind} {name}[] = {{\n" + ",\n".join(f"    {line}" for line in lines) + "\n};"
