"""Reads a network from a file of safetensors: all that a program of one's own needs to run it.

``read(path)`` gives its layers, from the image to the logits, as dictionaries; ``inputs`` are places of earlier ones.
A layer with a weight has it as real numbers, (out, in / groups, k, k) or (out, in), its ``bias``, and, if it is
quantized, its ``integers``: weight = (integers - zero_point) * scale, a scale and a zero point a channel or for all.
What a layer makes is rounded where it has a ``grid``: q = clip(round(x / scale + tie_break) + zero_point, 0,
2 ** bits - 1), read as (q - zero_point) * scale; but a concatenation reads unrounded the sums that have no ``relu``.
Convolutions and pools have ``padding`` zeros on each side, which an average does not count. Where the first layer has a
``mean``, it takes 8-bit pixels, (n, height, width, channels), and makes them (x - mean) / deviation first. Needs numpy
and safetensors.
"""

import json
from typing import Any

import numpy as np
from safetensors import safe_open


def read(path: str) -> list[dict[str, Any]]:
    """The layers of a file."""
    with safe_open(path, "numpy") as file:
        layers: list[dict[str, Any]] = json.loads(file.metadata()["layers"])
        for layer in layers:
            for key in layer.pop("tensors"):
                layer[key] = file.get_tensor(f"{layer['name']}/{key}")
            if "integers" in layer:
                shape = [-1] + [1] * (layer["integers"].ndim - 1)
                scale, zero_point = layer["scale"].reshape(shape), layer["zero_point"].reshape(shape)
                layer["weight"] = (layer["integers"].astype(np.float32) - zero_point) * scale
    return layers
