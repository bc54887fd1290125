"""The profiles that a trained network can be exported in.

A new one is a row in ``PROFILES``: what writes it, and what holds it against torch.
"""

from collections.abc import Callable
from dataclasses import dataclass

from qnas.data.images import Images
from qnas.errors import check_known
from qnas.exporters.onnx import write_onnx
from qnas.exporters.parity import Parity, compare
from qnas.network.deployed import DeployedNetwork


@dataclass(frozen=True)
class Profile:
    """One row.

    Args:
        name: as users write it.
        reads: what it is good for.
        write: gives the file's bytes.
        compare: runs a file's bytes beside the network on the same images.
        file: its name in a winner's folder.
    """

    name: str
    reads: str
    write: Callable[[DeployedNetwork], bytes]
    compare: Callable[[bytes, DeployedNetwork, Images], Parity] = compare
    file: str = "model.onnx"


PROFILES = {
    row.name: row
    for row in (
        Profile(
            "compact",
            "ONNX with weights of 4 bits and fewer stored two a byte: the smallest file",
            lambda network: write_onnx(network).SerializeToString(),
        ),
        Profile(
            "unpacked",
            "ONNX with every weight in a byte: a larger file, that no run of onnxruntime has to unpack",
            lambda network: write_onnx(network, packed_bits=0).SerializeToString(),
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
