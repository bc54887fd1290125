"""The sizes and choices of a graph hypernetwork.

The default sizes are GHN-2's for CIFAR-10 (Knyazev et al., 2021); ``GHN_2`` is GHN-2 in everything.
"""

from dataclasses import dataclass
from typing import Any, get_args

from qnas.errors import QnasError, shown
from qnas.graph.distances import LONGEST_VIRTUAL_EDGE
from qnas.quant.grid import Sharing
from qnas.space.space import SearchSpace

SWEEPS = ("sequential", "synchronous")
FEATURES = ("full", "ghn-2")
LARGEST, MOST_ROUNDS = 1 << 16, 16
SHARINGS: tuple[Sharing, ...] = get_args(Sharing)


@dataclass(frozen=True, slots=True)
class GHNConfig:
    """A hypernetwork's settings.

    Args:
        classes: of the data set; the classifier's size.
        hidden: length of a node's state.
        channels: a decoded tensor has at most this many channels in and out; larger ones are tiled.
        kernel: a decoded tensor has at most this kernel size.
        decoder: widths of the two hidden layers of the decoder.
        sweep: ``sequential`` as in GHN-2: nodes update in topological order and see their already updated
            predecessors; or ``synchronous``: all nodes at once, cheaper and weaker per sweep.
        rounds: how many times the forward and the backward sweep run.
        features: ``full``: every node tells its channels and kernel, with a table for each of Cout, Cin, kh and kw;
            or ``ghn-2``: pools tell only their kernel and sums, concatenations and averages nothing, a linear layer is
            a convolution, Cout and Cin share one table, and so do kh and kw.
        knows_bits: whether nodes also tell the bit widths of their weights and activations.
        knows_places: whether nodes also tell where they are: the longest paths from the input and to the output, and
            the side of the images there.
        weights: what shares a step where its networks are quantized: a ``tensor``, as in the paper, or a ``channel``,
            as trained networks are deployed.
        virtual_edges: length of the longest path that is a virtual edge: 10 in the paper, 50 in GHN-2's authors' code.

    Raises:
        QnasError: a value is out of range.
    """

    classes: int = 10
    hidden: int = 32
    channels: int = 64
    kernel: int = 11
    decoder: tuple[int, int] = (128, 256)
    sweep: str = "sequential"
    rounds: int = 1
    features: str = "full"
    knows_bits: bool = True
    weights: Sharing = "tensor"
    virtual_edges: int = LONGEST_VIRTUAL_EDGE
    knows_places: bool = False

    def __post_init__(self) -> None:
        sizes = (
            self.classes, self.hidden, self.channels, self.kernel, self.rounds, self.virtual_edges, *self.decoder
        )  # fmt: skip
        switches = (self.knows_bits, self.knows_places)
        if (
            not all(type(size) is int for size in sizes)
            or not all(type(switch) is bool for switch in switches)
            or len(self.decoder) != 2
        ):
            raise QnasError(f"The sizes of a GHN are whole numbers, got {shown(sizes)}; correct its configuration.")
        if self.sweep not in SWEEPS:
            raise QnasError(
                f"A GHN's sweep is one of {', '.join(SWEEPS)}, got {shown(self.sweep)}; choose one of them."
            )
        if self.features not in FEATURES:
            choices = ", ".join(FEATURES)
            raise QnasError(f"A GHN's features are one of {choices}, got {shown(self.features)}; choose one of them.")
        if self.weights not in SHARINGS:
            choices = ", ".join(SHARINGS)
            raise QnasError(
                f"A GHN's weights share the steps of one of {choices}, got {shown(self.weights)}; choose one."
            )
        if self.hidden % 4:
            raise QnasError(f"A GHN's hidden size is a multiple of 4, got {self.hidden}; take the next one.")
        if min(sizes) < 1:
            raise QnasError(f"The sizes of a GHN are positive, got {self}; correct its configuration.")
        if max(sizes) > LARGEST or self.rounds > MOST_ROUNDS:
            raise QnasError(
                f"The sizes of a GHN are {LARGEST} at most, its rounds {MOST_ROUNDS}, got {shown(sizes)} and "
                f"{self.rounds} rounds; correct its configuration."
            )


GHN_2 = GHNConfig(features="ghn-2", knows_bits=False, virtual_edges=50)


SIZES: dict[str, dict[str, Any]] = {
    "small": {"channels": 32, "decoder": (96, 192)},
    "medium": {},
    "large": {"hidden": 64},
}
"""Changes to GHN-2's sizes, the medium ones: 0.3, 1.2 and 1.4 million parameters for ten classes and kernels of 5."""


def config_for(
    space: SearchSpace, sweep: str = "synchronous", weights: Sharing = "channel", size: str = ""
) -> GHNConfig:
    """A configuration with kernels as large as a space's own.

    Args:
        space: whose networks it is for.
        sweep: see the class.
        weights: likewise.
        size: one of ``SIZES``; where it is empty, small for narrow networks, else medium.

    Raises:
        QnasError: there is no such size.
    """
    size = size or ("small" if max(space.channels) <= 32 else "medium")
    if size not in SIZES:
        raise QnasError(f"A GHN's size is one of {', '.join(SIZES)}, got {shown(size)}; leave it out for what suits.")
    kernel = max(*space.kernels, *space.stem_kernels)
    choices: dict[str, Any] = {"sweep": sweep, "weights": weights, "knows_places": True}
    return GHNConfig(space.task.classes, kernel=kernel, **choices, **SIZES[size])
