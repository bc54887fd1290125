"""The settings of a benchmark table, checked. Knows no tensor."""

from dataclasses import asdict, dataclass, field
from typing import Any

from qnas.errors import at_least_one
from qnas.quant.scheme import Bits
from qnas.training.recipe import Recipe


@dataclass(frozen=True)
class TableSettings:
    """What a table holds.

    Args:
        data: name or path of the data set.
        space: name or path of the search space.
        ghn: name or path of the checkpoint that predicts.
        networks: how many genotypes.
        bits: each is trained at all of these.
        seeds: full runs from each start; shorter ones are of the first seed alone.
        recipe: of a full run; shorter ones as in a search.
        seed: of the genotypes.

    Raises:
        QnasError: a count is out of range.
    """

    data: str
    space: str
    ghn: str
    networks: int = 150
    bits: tuple[Bits, ...] = tuple(Bits.parse(text) for text in ("w4a4", "w2a2", "w8a8", "w4a8"))
    seeds: int = 2
    recipe: Recipe = field(default_factory=lambda: Recipe(steps=96))
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one({"networks": self.networks, "seeds": self.seeds})

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a table to go on."""
        plain = {**asdict(self), "bits": [str(bits) for bits in self.bits]}
        return {**plain, "steps": self.recipe.steps, "recipe": self.recipe.ingredients}
