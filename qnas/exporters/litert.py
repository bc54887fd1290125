"""Runs an exported file of TensorFlow Lite in LiteRT's interpreter, and holds it against torch.

The package is optional, and imported when it is used (``registry.check_runs`` says that it is missing).
"""

from importlib import import_module
from importlib.metadata import version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qnas.data.images import Images
from qnas.exporters.parity import PARITY_BATCH, Parity, held_against
from qnas.network.deployed import DeployedNetwork

RUNTIME, PACKAGE = "litert", "ai-edge-litert"


def classified(model: bytes, pixels: Tensor, **options: Any) -> NDArray[np.float64]:
    """Logits (n, classes) of 8-bit images (n, channels, height, width) by LiteRT; ``options`` are its interpreter's."""
    interpreter = import_module("ai_edge_litert.interpreter").Interpreter(model_content=model, **options)
    (read,), (made,) = interpreter.get_input_details(), interpreter.get_output_details()
    logits = []
    for part in pixels.permute(0, 2, 3, 1).split(PARITY_BATCH):
        interpreter.resize_tensor_input(read["index"], part.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(read["index"], part.contiguous().numpy())
        interpreter.invoke()
        logits.append(interpreter.get_tensor(made["index"]))
    return np.concatenate(logits) * float(made["quantization"][0])


def compare_tflite(model: bytes, network: DeployedNetwork, images: Images) -> Parity:
    """Run a file in LiteRT at default settings, and its network in torch, on the same images."""
    return held_against(network, images, classified(model, images.pixels), RUNTIME, version(PACKAGE))
