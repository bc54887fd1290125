"""How long networks take on this machine: a table of layers, each timed once in onnxruntime as it is exported.

A network's latency, one image at a time on one thread, is the sum over its layers times a factor, which makes up for
what onnxruntime fuses and for what lies between layers. The factor is the median over a few whole networks.
``benchmarks/latency.py`` says how far such sums lie from whole networks on the clock.
"""

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from statistics import median
from typing import Any, Protocol

import numpy as np
import onnxruntime
import torch
from filelock import FileLock
from onnx import ModelProto

from qnas.exporters.onnx import write_layers, write_onnx
from qnas.network.deployed import DeployedLayer, DeployedNetwork
from qnas.network.plan import Node, Plan
from qnas.quant.grid import Grid, levels
from qnas.runs.files import append_row, read_rows
from qnas.runs.reading import expect, reading

COPIES = 9
"""A layer is timed as the difference between so many of its kind and one, which leaves out the cost of a call."""
FACTOR = "factor"
ROUNDS, RUNS = 10, 5
"""The fastest of so many rounds counts, each the mean of so many runs."""


class LatencyTable:
    """Milliseconds of layers by their signature, in a file that grows as layers are met.

    Args:
        path: JSON lines, one a layer; several processes may use it at once.
        samples: gives the networks that set the factor, if the file has none yet.
        clock: times layers and networks.
    """

    def __init__(self, path: Path, samples: Callable[[], Iterable[Plan]], clock: "Clock | None" = None) -> None:
        self.path, self.lock, self.clock = path, FileLock(f"{path}.lock"), clock or Onnxruntime()
        self.times: dict[str, float] = {}
        with self.lock:
            self._read()
            if FACTOR not in self.times:
                ratios = [self.clock.network(plan) / self._sum(plan) for plan in samples()]
                self._add(FACTOR, median(ratios))

    def latency(self, plan: Plan) -> float:
        """Milliseconds of a network for one image, those of unknown layers being measured now."""
        if any(signature(plan, node) not in self.times for node in plan.nodes[1:]):
            with self.lock:
                self._read()
                self._sum(plan)
        return round(self.times[FACTOR] * self._sum(plan), 6)

    def _sum(self, plan: Plan) -> float:
        for node in plan.nodes[1:]:
            name = signature(plan, node)
            if name not in self.times:
                self._add(name, self.clock.layer(plan, node))
        return sum(self.times[signature(plan, node)] for node in plan.nodes[1:])

    def _read(self) -> None:
        with reading(self.path, "a table of latencies", "delete it, and the same command measures them again"):
            rows = read_rows(self.path)
            for number, row in enumerate(rows, 1):
                expect(row, {"layer": str, "time": float}, f"line {number}")
        self.times = {row["layer"]: row["time"] for row in rows}

    def _add(self, name: str, value: float) -> None:
        self.times[name] = round(value, 6)
        append_row(self.path, {"layer": name, "time": self.times[name]})


class Clock(Protocol):
    """What times: milliseconds for one image."""

    def layer(self, plan: Plan, node: Node) -> float:
        """One layer of a plan."""

    def network(self, plan: Plan) -> float:
        """A whole plan."""


class Onnxruntime:
    """Times in onnxruntime, on one thread, with weights of all sorts."""

    def layer(self, plan: Plan, node: Node) -> float:
        """See ``Clock``."""
        return time_layer(plan, node)

    def network(self, plan: Plan) -> float:
        """See ``Clock``."""
        return time_network(plan)


def signature(plan: Plan, node: Node) -> str:
    """What tells a layer's time from another's: kind, shapes, kernel, stride, dilation, groups and bit widths."""
    read = " ".join(
        f"{'x'.join(map(str, source.shape))}a{source.bits.activations if source.quantized else ' unrounded'}"
        for source in _sources(plan, node)
    )
    bits = node.bits if node.kind in ("conv", "linear") else f"a{node.bits.activations}"
    made = "x".join(map(str, node.shape))
    return f"{node.kind} {read} > {made} k{node.kernel} s{node.stride} d{node.dilation} g{node.groups} {bits}"


def _sources(plan: Plan, node: Node) -> list[Node]:
    """What a layer reads, as it reads it: a concatenation reads unrounded what is handed on."""
    sources = [plan.nodes[source] for source in node.inputs]
    raw = node.kind == "concat"
    return [source._replace(quantized=source.quantized and not (raw and source.handed_on)) for source in sources]


def time_layer(plan: Plan, node: Node) -> float:
    """Milliseconds of one layer of a plan for one image."""
    one, many = (_time(write_layers(_copies(plan, node, count), len(node.inputs))) for count in (1, COPIES))
    return round(max(0.0, many - one) / (COPIES - 1), 6)


def _copies(plan: Plan, node: Node, count: int) -> DeployedNetwork:
    """A network of inputs like those that a layer reads, and of so many layers like it, with weights of all sorts."""
    sources = [
        source._replace(name=f"input{place}", kind="input", inputs=())
        for place, source in enumerate(_sources(plan, node))
    ]
    copies = [node._replace(name=f"{node.name}/{number}", inputs=tuple(range(len(sources)))) for number in range(count)]
    shapes = {copy.name: shape for copy in copies if (shape := _weight_shape(plan, node))}
    return _with_values(Plan((*sources, *copies), (), plan.classes), shapes)


def time_network(plan: Plan) -> float:
    """Milliseconds of a whole network, with weights of all sorts, for one image."""
    shapes = {node.name: shape for node in plan.nodes if (shape := _weight_shape(plan, node))}
    return _time(write_onnx(_with_values(plan, shapes)))


def _weight_shape(plan: Plan, node: Node) -> tuple[int, ...]:
    return next((slot.shape for slot in plan.slots if slot.name == f"{node.name}/weight"), ())


def _with_values(plan: Plan, shapes: dict[str, tuple[int, ...]]) -> DeployedNetwork:
    grids = {
        node.name: Grid(0.1, 0, node.bits.activations)
        for node in plan.nodes
        if node.quantized and not node.bits.is_float
    }
    layers = {node.name: _layer(node, shapes[node.name]) for node in plan.nodes if node.name in shapes}
    return DeployedNetwork(plan, layers, grids)


def _layer(node: Node, shape: tuple[int, ...]) -> DeployedLayer:
    generator, bias = torch.Generator().manual_seed(0), torch.zeros(shape[0])
    if node.bits.is_float:
        return DeployedLayer(torch.randn(shape, generator=generator), None, bias)
    most = levels(node.bits.weights)
    integers = torch.randint(0, most + 1, shape, generator=generator, dtype=torch.uint8)
    return DeployedLayer(integers, Grid(0.1, (most + 1) // 2, node.bits.weights), bias)


def session(model: ModelProto) -> onnxruntime.InferenceSession:
    """A model in onnxruntime, on one thread."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def _time(model: ModelProto) -> float:
    """Milliseconds of one call with one image."""
    runner = session(model)
    feeds: dict[str, Any] = {one.name: np.ones((1, *one.shape[1:]), np.float32) for one in runner.get_inputs()}
    rounds = []
    for _ in range(ROUNDS):
        started = time.perf_counter()
        for _ in range(RUNS):
            runner.run(None, feeds)
        rounds.append((time.perf_counter() - started) / RUNS * 1000)
    return min(rounds)
