"""Bit widths of weights and activations. Knows no tensor: a genotype carries these."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from qnas.errors import QnasError, shown

FLOAT = 32
LOWEST, HIGHEST = 2, 8


@dataclass(frozen=True, slots=True, order=True)
class Bits:
    """Bit widths of a layer: ``Bits(4, 8)`` is W4A8, ``Bits(32, 32)`` is float.

    Raises:
        QnasError: a width is not within 2..8, unless both are 32.
    """

    weights: int
    activations: int

    def __post_init__(self) -> None:
        widths = (self.weights, self.activations)
        if widths != (FLOAT, FLOAT) and not all(LOWEST <= width <= HIGHEST for width in widths):
            raise QnasError(
                f"Bit widths must lie within {LOWEST}..{HIGHEST}, got {str(self)!r}; "
                "give for example `bits='w4a4'`, or `bits='fp32'` for float."
            )

    def __str__(self) -> str:
        return "fp32" if self.is_float else f"w{self.weights}a{self.activations}"

    @property
    def is_float(self) -> bool:
        """Whether nothing is quantized."""
        return self.weights == FLOAT

    def with_weights(self, least: int) -> "Bits":
        """At least so many bits for the weights; floats stay floats."""
        return Bits(max(self.weights, least), self.activations)

    @classmethod
    def parse(cls, text: str) -> "Bits":
        """Read ``"w4a8"`` or ``"fp32"``, in either case.

        Raises:
            QnasError: the text has another form or a width is out of range.
        """
        if not isinstance(text, str):
            raise QnasError(f"Bit widths are a text like w4a8 or fp32, got {shown(text)}; give `bits='w4a4'`.")
        if text.lower() == "fp32":
            return FP32
        match = re.fullmatch(r"w([0-9]{1,3})a([0-9]{1,3})", text.lower())
        if match is None:
            raise QnasError(
                f"Bit widths are written like w4a8 or fp32, got {shown(text)}; give for example `bits='w4a4'`."
            )
        return cls(int(match[1]), int(match[2]))


def check_edges(weights: int) -> None:
    """Check the bits of the weights of first and last layers; 0 is for none of their own.

    Raises:
        QnasError: no weights can have them.
    """
    if weights and not LOWEST <= weights <= HIGHEST:
        raise QnasError(f"`edges` is {LOWEST} to {HIGHEST} bits, got {weights}; give 8, or leave it out.")


def container(bits: int) -> int:
    """The bits in which integers of so many are stored: 2, 4 or 8."""
    return next(width for width in (2, 4, 8) if bits <= width)


def widest(several: Iterable[Bits]) -> Bits:
    """The widest weights and the widest activations among several."""
    pairs = [(bits.weights, bits.activations) for bits in several]
    return Bits(max(weights for weights, _ in pairs), max(activations for _, activations in pairs))


FP32 = Bits(FLOAT, FLOAT)
PAPER_BITS = (FP32, Bits(8, 8), Bits(4, 8), Bits(4, 4), Bits(2, 2))
"""The settings of the paper's tables 3 to 5."""
MIXED = tuple(Bits.parse(text) for text in ("w2a2", "w4a4", "w4a8", "w8a8"))
"""What a layer may have where every layer has widths of its own, narrowest first."""


def mixed_up_to(most: Bits) -> tuple[Bits, ...]:
    """What layers of widths of their own may have, narrowest first: nothing in float."""
    if most.is_float:
        return ()
    return tuple(bits for bits in MIXED if bits.weights <= most.weights and bits.activations <= most.activations)


def check_mixed(choices: Collection[Bits], most: Bits) -> None:
    """Check that layers have a choice.

    Raises:
        QnasError: they have not.
    """
    if len(choices) < 2:
        known = ", ".join(str(bits) for bits in MIXED)
        raise QnasError(f"`mixed` chooses among {known} up to `bits`, got {most}; give w4a4 or more.")
