"""Holds an exported ONNX model against the frozen network it was written from, in onnxruntime at default settings."""

from dataclasses import dataclass

import numpy as np
import onnxruntime
import torch

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.exporters.onnx import INPUT
from qnas.network.deployed import DeployedNetwork

PARITY_BATCH = 256


@dataclass(frozen=True)
class Parity:
    """How an exported model compares: images, top-1 of both (per cent), equal classes (per cent), logits apart."""

    images: int
    torch_top1: float
    onnxruntime_top1: float
    same_class: float
    largest_logit_difference: float
    mean_logit_difference: float
    onnxruntime_version: str


@torch.no_grad()
def compare(model: bytes, network: DeployedNetwork, images: Images) -> Parity:
    """Run both on the same images."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    pairs = []
    for x, labels in evaluation_batches(images, PARITY_BATCH):
        (exported,) = session.run(None, {INPUT: x.numpy()})
        pairs.append((network(x).numpy(), exported, labels.numpy()))
    ours, theirs, classes = (np.concatenate(column) for column in zip(*pairs, strict=True))
    difference = np.abs(ours - theirs)
    return Parity(
        images=len(classes),
        torch_top1=100 * float((ours.argmax(1) == classes).mean()),
        onnxruntime_top1=100 * float((theirs.argmax(1) == classes).mean()),
        same_class=100 * float((ours.argmax(1) == theirs.argmax(1)).mean()),
        largest_logit_difference=float(difference.max()),
        mean_logit_difference=float(difference.mean()),
        onnxruntime_version=onnxruntime.__version__,
    )
