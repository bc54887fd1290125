"""The profiles that a trained network can be exported in.

A new one is a row in ``PROFILES``: what writes it, and what holds it against torch.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

import qnas
from qnas.data.images import Images
from qnas.data.pixels import preparation
from qnas.errors import QnasError, check_known
from qnas.exporters.c import SOURCE, memory_of_c, write_c
from qnas.exporters.compiled import compare_c
from qnas.exporters.litert import compare_tflite
from qnas.exporters.onnx import BYTES, CRUMBS, INPUT, NIBBLES, OPSET, write_onnx
from qnas.exporters.parity import Parity, compare
from qnas.exporters.plain import PLAIN, compare_plain, write_plain
from qnas.exporters.program import PROGRAM, compare_program, write_program
from qnas.exporters.qonnx import QONNX, compare_qonnx, memory_of_qonnx, write_qonnx
from qnas.exporters.tflite import TFLITE, write_tflite
from qnas.network.deployed import DeployedNetwork
from qnas.network.memory import Memory
from qnas.quant.grid import Grid
from qnas.task import Task

MODEL = "model.onnx"
Files = dict[str, bytes]
"""Contents by the names that they have in a winner's folder."""
Maker = Callable[[DeployedNetwork, Task, Task | None, dict[str, str]], Files]
"""Gives the files of a network for the images of a task; the task again where 8-bit pixels are taken; and metadata."""


def _compare_onnx(files: Files, network: DeployedNetwork, images: Images) -> Parity:
    return compare(files[MODEL], network, images)


def _all_of(file: str) -> Callable[[Files], Memory]:
    """All that is known of what a file takes: its own size."""
    return lambda files: Memory(len(files[file]), 0)


MEMORY_OF_ONNX = _all_of(MODEL)


@dataclass(frozen=True)
class Profile:
    """One row.

    Args:
        name: as users write it.
        reads: what it is good for.
        make: gives the files of a network; refuses one that it cannot hold.
        compare: runs the files beside the network on the same images.
        file: the one that is the model.
        floats: whether it holds FP32 networks.
        zero_points: whether it holds weights on asymmetric grids.
        memory: says what the files take on a device, as far as that is known.
        pixels: whether it takes 8-bit pixels whatever is asked.
        needs: the least that runs it.
        package: what runs it here, if that is an extra, which has the profile's name.
    """

    name: str
    reads: str
    make: Maker
    compare: Callable[[Files, DeployedNetwork, Images], Parity] = _compare_onnx
    file: str = MODEL
    floats: bool = True
    zero_points: bool = True
    memory: Callable[[Files], Memory] = MEMORY_OF_ONNX
    pixels: bool = False
    needs: str = ""
    package: str = ""

    def write(self, network: DeployedNetwork, task: Task, pixels: bool) -> Files:
        """The files of a network for the images of a task, prepared ones or 8-bit pixels.

        Raises:
            QnasError: this profile cannot hold it.
        """
        pixels = pixels or self.pixels
        return self.make(network, task, task if pixels else None, metadata(network, task, pixels))


def input_of(pixels: bool) -> dict[str, str]:
    """What a model takes: 8-bit pixels, the channels of a pixel side by side, or prepared images."""
    kind, layout = ("uint8", "NHWC") if pixels else ("float32", "NCHW")
    return {"name": INPUT, "type": kind, "layout": layout}


def grids_of(network: DeployedNetwork) -> dict[str, list[str]]:
    """The grids of a network's weights and activations in words, each once."""
    weights = {_in_words(layer.grid) for layer in network.layers.values() if layer.grid}
    return {"weights": sorted(weights), "activations": sorted(set(map(_in_words, network.activations.values())))}


def _in_words(grid: Grid) -> str:
    zeros = {float(zero) for zero in np.ravel(grid.zero_point)}
    kind = "from 0" if zeros == {0} else "symmetric" if zeros == {2 ** (grid.bits - 1)} else "asymmetric"
    return f"{grid.bits} bits, {kind}, a step a {'tensor' if grid.axis is None else 'channel'}"


def metadata(network: DeployedNetwork, task: Task, pixels: bool) -> dict[str, str]:
    """What a model says of itself: class names, how images are prepared, grids, version; all but the last as JSON."""
    told: dict[str, Any] = {
        "classes": task.names,
        "images": {"shape": task.image, **preparation(task), "input": input_of(pixels)},
        "grids": grids_of(network),
    }
    return {**{name: json.dumps(value) for name, value in told.items()}, "qnas": qnas.__version__}


def _onnx(widths: Sequence[int], opset: int = OPSET) -> Maker:
    return lambda network, task, pixels, told: {
        MODEL: write_onnx(network, widths, opset, pixels, told).SerializeToString()
    }


PROFILES = {
    row.name: row
    for row in (
        Profile(
            "compact",
            "ONNX with weights of 4 bits and fewer stored two a byte: a small file",
            _onnx(NIBBLES),
            needs="onnxruntime 1.19",
        ),
        Profile(
            "unpacked",
            "ONNX with every weight in a byte: a larger file, that no run of onnxruntime has to unpack",
            _onnx(BYTES),
            needs="onnxruntime 1.18",
        ),
        Profile(
            "opset13",
            "ONNX of opset 13 with every weight in a byte, for runtimes and converters that know no newer one",
            _onnx(BYTES, 13),
            needs="onnxruntime 1.15",
        ),
        Profile(
            "opset25",
            "ONNX of opset 25, which also stores weights of 2 bits four a byte",
            _onnx(CRUMBS, 25),
            needs="onnxruntime 1.24",
        ),
        Profile(
            "c",
            "C99 in integers alone, weights packed at their bits, for devices without an operating system",
            lambda network, task, pixels, told: write_c(network, task),
            compare_c,
            SOURCE,
            floats=False,
            memory=memory_of_c,
            pixels=True,
            needs="a compiler of C99",
        ),
        Profile(
            "qonnx",
            "QONNX, real numbers with the bits that they need, for FPGAs through FINN or hls4ml",
            lambda network, task, pixels, told: {QONNX: write_qonnx(network, pixels, told).SerializeToString()},
            compare_qonnx,
            QONNX,
            floats=False,
            zero_points=False,
            memory=memory_of_qonnx,
            needs="FINN, hls4ml or the package qonnx",
            package="qonnx",
        ),
        Profile(
            "tflite",
            "TensorFlow Lite with activations of 8 bits, weights of 4 bits and fewer stored two a byte",
            lambda network, task, pixels, told: {TFLITE: write_tflite(network, task, told)},
            lambda files, network, images: compare_tflite(files[TFLITE], network, images),
            TFLITE,
            floats=False,
            memory=_all_of(TFLITE),
            pixels=True,
            zero_points=False,
            needs="LiteRT 2.3",
            package="ai_edge_litert",
        ),
        Profile(
            "torch",
            "a program of torch.export, which torch runs without qnas",
            lambda network, task, pixels, told: {PROGRAM: write_program(network, pixels, told)},
            lambda files, network, images: compare_program(files[PROGRAM], network, images),
            PROGRAM,
            memory=_all_of(PROGRAM),
            needs="torch 2.11",
        ),
        Profile(
            "safetensors",
            "integers, steps and a list of layers, and a program of a few lines that reads them, for your own runtime",
            lambda network, task, pixels, told: write_plain(network, pixels, told),
            compare_plain,
            PLAIN,
            memory=_all_of(PLAIN),
            needs="safetensors",
        ),
    )
}


def find_profile(name: str) -> Profile:
    """The row of a name; ``onnx`` is the usual one of those that write it.

    Raises:
        QnasError: there is none.
    """
    if name == "onnx":
        name = "compact"
    check_known("export `profile`", name, PROFILES)
    return PROFILES[name]


def check_runs(profile: Profile) -> None:
    """Check that the package that runs what a profile writes can be used: nothing is written that was not run.

    Raises:
        QnasError: it cannot be imported.
    """
    try:
        if profile.package:
            import_module(profile.package)
    except ImportError as error:
        raise QnasError(
            f"What is exported as {profile.name} is run by the package {profile.package}, which cannot be imported "
            f"({error}); `pip install 'qnas[{profile.name}]'`, or take another `profile`."
        ) from error
