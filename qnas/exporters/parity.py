"""Holds an exported model against the deployed network it was written from, on the same images.

The numbers are those of one runtime: onnxruntime at default settings, the compiled C code, or another's own.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.exporters.onnx import INPUT
from qnas.network.deployed import DeployedNetwork
from qnas.network.integers import IntegerNetwork, integer_network
from qnas.task import Task

PARITY_BATCH = 256
ONNXRUNTIME = "onnxruntime"
LEAST_SAME = 98.0
"""Per cent of the images that an export gives the class that torch gives, at the least: ties may round otherwise, and
at 8 bits integers round biases that torch does not."""


@dataclass(frozen=True)
class Parity:
    """How an exported model compares: images, top-1 of both (per cent), equal classes (per cent), logits apart.

    Where it was asked, ``integers_same_class`` says how often the class is the integer network's (per cent).
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

    @property
    def failure(self) -> str:
        """Why the exported model is not the network; empty if it is."""
        if not isfinite(self.largest_logit_difference):
            return f"{self.runtime} or torch gives logits that are no numbers"
        if self.same_class < LEAST_SAME:
            return f"{self.runtime} gives the class that torch gives for only {self.same_class:.2f} % of the images"
        return ""

    def to_json(self) -> dict[str, Any]:
        """As manifests have it: top-1 and version carry the runtime's name, such as ``onnxruntime_top1``."""
        asked = {} if self.integers_same_class is None else {"integers_same_class": self.integers_same_class}
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
        names = [field.name for field in fields(cls) if field.name not in ("runtime", "integers_same_class")]
        found = {name: data[own.get(name, name)] for name in names}
        return cls(runtime=runtime, integers_same_class=data.get("integers_same_class"), **found)


def compare(model: bytes, network: DeployedNetwork, images: Images) -> Parity:
    """Run an ONNX model, that takes prepared images or 8-bit pixels, and its network on the same images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    batches = inputs(images, session.get_inputs()[0].type == "tensor(uint8)", PARITY_BATCH)
    logits = np.concatenate([session.run(None, {INPUT: x})[0] for x in batches])
    return held_against(network, images, logits, ONNXRUNTIME, onnxruntime.__version__)


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
