"""Holds an exported model against the deployed network it was written from, on the same images.

The numbers are those of one runtime: onnxruntime at default settings, the compiled C code, or another's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from math import inf, isfinite
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.exporters.onnx import INPUT, OUTPUT, with_values
from qnas.network.deployed import DeployedNetwork
from qnas.network.forward import Parameters, forward
from qnas.network.integers import IntegerNetwork, integer_network
from qnas.network.plan import Node
from qnas.task import Task

PARITY_BATCH = 256
ONNXRUNTIME = "onnxruntime"
LEAST_SAME = 98.0
"""Per cent of the images that an export gives the class that torch gives, at the least: ties may round otherwise, and
at 8 bits integers round biases that torch does not."""


ASKED = ("integers_same_class", "first_layer")
"""What is not known of every container."""
MOST_STEPS = 1.5
"""Steps of a grid that a value of a layer may be off by, rounding of the difference included."""
LOGITS = 0.01
"""By what share of the largest logit they may differ, where the last layer is computed from the same values."""
FORCED = 64
"""Images on which layers are compared one by one."""


@dataclass(frozen=True)
class Parity:
    """How an exported model compares: images, top-1 of both (per cent), equal classes (per cent), logits apart.

    Where they were asked, ``integers_same_class`` says how often the class is the integer network's (per cent), and
    ``first_layer`` which layer is the first whose values differ by more than a step (``first_difference``), or none.
    """

    images: int
    torch_top1: float
    runtime_top1: float
    same_class: float
    largest_logit_difference: float
    mean_logit_difference: float
    runtime: str
    runtime_version: str
    integers_same_class: float | None = None
    first_layer: str | None = None

    @property
    def failure(self) -> str:
        """Why the exported model is not the network; empty if it is."""
        if not isfinite(self.largest_logit_difference):
            return f"{self.runtime} or torch gives logits that are no numbers"
        if self.same_class < LEAST_SAME:
            layer = f", and layer {self.first_layer} is the first to differ by itself" if self.first_layer else ""
            return f"{self.runtime} gives torch's class for only {self.same_class:.2f} % of the images{layer}"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As manifests have it: top-1 and version carry the runtime's name, such as ``onnxruntime_top1``."""
        asked = {name: value for name in ASKED if (value := getattr(self, name)) is not None}
        return {
            "images": self.images,
            "torch_top1": self.torch_top1,
            f"{self.runtime}_top1": self.runtime_top1,
            "same_class": self.same_class,
            "largest_logit_difference": self.largest_logit_difference,
            "mean_logit_difference": self.mean_logit_difference,
            f"{self.runtime}_version": self.runtime_version,
            "runtime": self.runtime,
            **asked,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Parity":
        """Read ``to_json``, or what manifests had before there was a runtime besides onnxruntime."""
        runtime = data.get("runtime", ONNXRUNTIME)
        own = {"runtime_top1": f"{runtime}_top1", "runtime_version": f"{runtime}_version"}
        names = [field.name for field in fields(cls) if field.name not in ("runtime", *ASKED)]
        found = {name: data[own.get(name, name)] for name in names}
        asked: dict[str, Any] = {name: data.get(name) for name in ASKED}
        return cls(runtime=runtime, **found, **asked)


def compare(model: bytes, network: DeployedNetwork, images: Images) -> Parity:
    """Run an ONNX model, that takes prepared images or 8-bit pixels, and its network on the same images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pixels = session.get_inputs()[0].type == "tensor(uint8)"
    logits = np.concatenate([session.run(None, {INPUT: x})[0] for x in inputs(images, pixels, PARITY_BATCH)])
    found = held_against(network, images, logits, ONNXRUNTIME, onnxruntime.__version__)
    return replace(found, first_layer=first_difference(model, network, images.first(FORCED), pixels))


class _Forced:
    """Computes every layer from the values that a runtime has, and notes how far apart what they make of them is.

    See ``qnas.network.forward.Arithmetic``.

    Args:
        network: that computes.
        theirs: the runtime's rounded values, by node.
    """

    def __init__(self, network: DeployedNetwork, theirs: dict[str, Tensor]) -> None:
        self.network, self.theirs = network, theirs
        self.steps: dict[str, float] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        return self.network.layer(node, x, parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if (grid := self.network.activations.get(node.name)) is None:
            return x
        ours = grid.round(x)
        theirs = self.theirs.get(node.name, ours)
        if ours.shape != theirs.shape:  # of another network
            self.steps[node.name] = inf
            return ours
        self.steps[node.name] = float((ours - theirs).abs().max() / grid.scale)
        return theirs


@torch.no_grad()
def first_difference(model: bytes, network: DeployedNetwork, images: Images, pixels: bool) -> str:
    """The first layer whose values in onnxruntime and in torch are more than a step apart; empty if none is.

    Each layer is computed from what onnxruntime has computed before it, so that none answers for another, but for what
    a max pool hands on; the logits may differ by ``LOGITS`` of the largest. As all values are asked for, onnxruntime
    may join fewer layers than in the run that counts.
    """
    shown = onnx.load_model_from_string(model)
    shape, classes = network.plan.nodes[0].shape, network.plan.classes
    names = with_values(shown, network, Task(shape, classes, mean=(0.0,), deviation=(1.0,)) if pixels else None)
    session = onnxruntime.InferenceSession(shown.SerializeToString(), providers=["CPUExecutionProvider"])
    (x,) = inputs(images, pixels, len(images))
    values = [torch.from_numpy(value) for value in session.run([*names.values(), OUTPUT], {INPUT: x})]
    forced = _Forced(network, dict(zip(names, values, strict=False)))
    logits, last = forward(network.plan, {}, images.batch(slice(None))[0], forced), values[-1]
    apart = [node for node, steps in forced.steps.items() if not steps < MOST_STEPS]
    if not apart and not (logits - last).abs().max() <= LOGITS * last.abs().max():
        apart = [network.plan.nodes[-1].name]
    return apart[0] if apart else ""


def inputs(images: Images, pixels: bool, size: int) -> Iterator[NDArray[Any]]:
    """Batches of so many images as models take them: 8-bit pixels, channels last, or prepared images."""
    if pixels:
        return (x.permute(0, 2, 3, 1).numpy() for x in images.pixels.split(size))
    return (x.numpy() for x, _ in evaluation_batches(images, size))


def integers_of(network: DeployedNetwork, images: Images) -> IntegerNetwork:
    """The integer network that reads the pixels of these images.

    Raises:
        QnasError: there is none (``qnas.network.integers.integer_network``).
    """
    mean, deviation = (tuple(values.flatten().tolist()) for values in (images.mean, images.deviation))
    return integer_network(
        network, Task(network.plan.nodes[0].shape, network.plan.classes, mean=mean, deviation=deviation)
    )


@torch.no_grad()
def held_against(
    network: DeployedNetwork, images: Images, theirs: NDArray[np.floating[Any]], runtime: str, version: str
) -> Parity:
    """What a runtime made of images beside what torch makes of them.

    Args:
        network: computed in torch.
        images: that both have seen.
        theirs: the runtime's logits (n, classes).
        runtime: its name.
        version: of it.
    """
    ours = np.concatenate([network(x).numpy() for x, _ in evaluation_batches(images, PARITY_BATCH)])
    classes, difference = images.labels.numpy(), np.abs(ours - theirs)
    return Parity(
        images=len(classes),
        torch_top1=100 * float((ours.argmax(1) == classes).mean()),
        runtime_top1=100 * float((theirs.argmax(1) == classes).mean()),
        same_class=100 * float((ours.argmax(1) == theirs.argmax(1)).mean()),
        largest_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        runtime=runtime,
        runtime_version=version,
    )
