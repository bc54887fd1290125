"""The profiles that a trained network can be exported in.

A new one is a row in ``PROFILES``: what writes it, and what holds it against torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qnas.data.images import Images
from qnas.errors import check_known
from qnas.exporters.c import SOURCE, memory_of_c, write_c
from qnas.exporters.compiled import compare_c
from qnas.exporters.device_profiles import Memory
from qnas.exporters.onnx import PACKED_BITS, write_onnx
from qnas.exporters.parity import Parity, compare
from qnas.network.deployed import DeployedNetwork
from qnas.task import Task

MODEL = "model.onnx"
Files = dict[str, bytes]
"""Contents by the names that they have in a winner's folder."""


def _compare_onnx(files: Files, network: DeployedNetwork, images: Images) -> Parity:
    return compare(files[MODEL], network, images)


def _memory_of_onnx(files: Files) -> Memory:
    return Memory(len(files[MODEL]), 0)


@dataclass(frozen=True)
class Profile:
    """One row.

    Args:
        name: as users write it.
        reads: what it is good for.
        write: gives the files of a network for the images of a task; refuses a network that it cannot hold.
        compare: runs the files beside the network on the same images.
        file: the one that is the model.
        floats: whether it holds FP32 networks.
        memory: says what the files take on a device, as far as that is known.
        prepare: how pixels of the right size are handed to it.
    """

    name: str
    reads: str
    write: Callable[[DeployedNetwork, Task], Files]
    compare: Callable[[Files, DeployedNetwork, Images], Parity] = _compare_onnx
    file: str = MODEL
    floats: bool = True
    memory: Callable[[Files], Memory] = _memory_of_onnx
    prepare: str = "(pixel - mean) / deviation for each channel, pixels 8-bit as stored"


def _onnx(packed_bits: int) -> Callable[[DeployedNetwork, Task], Files]:
    return lambda network, task: {MODEL: write_onnx(network, packed_bits).SerializeToString()}


PROFILES = {
    row.name: row
    for row in (
        Profile(
            "compact",
            "ONNX with weights of 4 bits and fewer stored two a byte: the smallest file",
            _onnx(PACKED_BITS),
        ),
        Profile(
            "unpacked",
            "ONNX with every weight in a byte: a larger file, that no run of onnxruntime has to unpack",
            _onnx(0),
        ),
        Profile(
            "c",
            "C99 in integers alone, weights packed at their bits, for devices without an operating system",
            write_c,
            compare_c,
            SOURCE,
            floats=False,
            memory=memory_of_c,
            prepare="8-bit pixels as stored, row after row, the channels of a pixel side by side",
        ),
    )
}


def find_profile(name: str) -> Profile:
    """The row of a name.

    Raises:
        QnasError: there is none.
    """
    check_known("export `profile`", name, PROFILES)
    return PROFILES[name]
