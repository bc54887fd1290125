"""What a study of initializers trains, checked, and its presets: section 3 of Yun and Wong."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from qnas.errors import QnasError, at_least_one, check_known, shown
from qnas.network.initializers import INITIALIZERS
from qnas.quant.scheme import Bits
from qnas.training.plain import Protocol

BLOCKS = {
    f"{design}_{suffix}": (design, batch_norm)
    for design in ("regular_conv", "dws_conv", "basic_residual", "mbnet_v2")
    for suffix, batch_norm in (("with_bn", True), ("no_bn", False))
}
"""The networks, by the paper's names: the hand-made design of each, and whether it has batch norms."""
SIMPLE = tuple(BLOCKS)[:4]
GHN = "ghn"
"""The thirteenth initializer: convolutions and batch norms that a hypernetwork predicts, with a little noise."""
EVERY = (*INITIALIZERS, GHN)
WIDTHS = {"quint8": Bits(8, 8), "w4a4": Bits(4, 4), "w2a2": Bits(2, 2)}
"""What the trained networks are quantized to; the paper has the first."""

MOST_SEEDS = 1_000
"""Runs of each network that a study may have."""


@dataclass(frozen=True)
class InitSettings:
    """What a study trains; the defaults are the paper's.

    Args:
        data: name or path of the data set.
        ghn: name or path of the checkpoint that predicts; empty where no cell needs one.
        blocks: of ``BLOCKS``.
        initializers: of ``INITIALIZERS``, or ``ghn``.
        seeds: runs of each of them; the paper does not say how many it has.
        width: channels of the first layers; the paper's stand only in its figures.
        protocol: how networks are trained.
        test_images: how many, the first; 0 for all.
        shrink: pixels in each direction that become one.
        stack: networks of one block and seed that are trained side by side; 0 for all of them.

    Raises:
        QnasError: a name is unknown, or a number out of range.
    """

    data: str
    ghn: str = ""
    blocks: tuple[str, ...] = tuple(BLOCKS)
    initializers: tuple[str, ...] = EVERY
    seeds: int = 3
    width: int = 32
    protocol: Protocol = field(default_factory=Protocol)
    test_images: int = 0
    shrink: int = 1
    stack: int = 1

    def __post_init__(self) -> None:
        for name in self.blocks:
            check_known("block", name, BLOCKS)
        for name in self.initializers:
            check_known("initializer", name, EVERY)
        at_least_one({"seeds": self.seeds, "width": self.width, "shrink": self.shrink})
        if self.seeds > MOST_SEEDS:
            raise QnasError(f"A study has at most {MOST_SEEDS:,} `seeds`, got {shown(self.seeds)}; take fewer.")
        if not self.blocks or not self.initializers:
            raise QnasError("A study has at least one of `blocks` and one of `initializers`; leave them out for all.")

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a study to go on."""
        plain = asdict(self)
        plain["protocol"]["milestones"] = list(self.protocol.milestones)
        return {**plain, "blocks": list(self.blocks), "initializers": list(self.initializers)}


_SHORT = Protocol(zoom=0.0, turn=0.0, flip=False)
_QUICK = InitSettings("", blocks=SIMPLE, width=8, protocol=replace(_SHORT, epochs=1, batch=32))
PRESETS = {
    "quick": replace(_QUICK, test_images=2000, shrink=2, stack=0),
    "middle": InitSettings("", width=8, protocol=replace(_SHORT, epochs=8), stack=4),
    "paper": InitSettings(""),
}
"""Sizes of the study: minutes, about ten hours of two cores, and the paper's protocol.

The shorter ones neither zoom nor turn: they end before they overfit. A pass in batches of 128 teaches little; the first
has smaller ones.
"""


def find_preset(name: str) -> InitSettings:
    """The settings of a preset, without data.

    Raises:
        QnasError: there is none.
    """
    check_known("preset", name, PRESETS)
    return PRESETS[name]
