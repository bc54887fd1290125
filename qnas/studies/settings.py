"""The settings of a benchmark table, checked, and their TOML form. Knows no tensor."""

import random
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from qnas.errors import QnasError, at_least_one, check_known, check_seed, did_you_mean, shown
from qnas.nas.limits import Limits
from qnas.quant.scheme import Bits, check_mixed, mixed_up_to
from qnas.runs.reading import read_toml, reading
from qnas.space.genotype import Genotype
from qnas.training.recipe import Recipe

STARTS = ("random", "predicted")


@dataclass(frozen=True)
class Part:
    """Training runs of a table.

    Args:
        bits: widths of the networks.
        networks: how many of the table's genotypes, the first.
        epochs: passes over the training images.
        starts: ``random``, ``predicted`` or both.
        seeds: runs from each start.
        mixed: whether every layer has widths of its own, drawn from those up to ``bits``.

    Raises:
        QnasError: a start is unknown, a number out of range, or nothing to mix.
    """

    bits: Bits
    networks: int
    epochs: float = 1.0
    starts: tuple[str, ...] = STARTS
    seeds: int = 1
    mixed: bool = False

    def __post_init__(self) -> None:
        for start in self.starts:
            check_known("start", start, STARTS)
        if self.mixed:
            check_mixed(mixed_up_to(self.bits), self.bits)
        at_least_one({"networks": self.networks, "seeds": self.seeds})
        if not 0 < self.epochs < float("inf"):
            raise QnasError(f"`epochs` is above 0, got {self.epochs:g}; leave it out for one.")

    def widths_of(self, genotype: Genotype, seed: int) -> Genotype:
        """A genotype at these widths, or at mixed ones, the same for the same seed."""
        at_widest = genotype.with_bits(self.bits)
        if not self.mixed:
            return at_widest
        generator, choices = random.Random(f"{seed} {at_widest.key}"), mixed_up_to(self.bits)
        return at_widest.with_drawn_bits(lambda: generator.choice(choices))


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
        limits: that every genotype keeps at the first bit widths.
        parts: what is trained instead of full runs and the shorter ones of a search; ``networks``, ``bits`` and
            ``seeds`` are then theirs.

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
    limits: Limits = field(default_factory=Limits)
    parts: tuple[Part, ...] = ()

    def __post_init__(self) -> None:
        at_least_one({"networks": self.networks, "seeds": self.seeds})
        check_seed(self.seed)

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a table to go on: a table with parts may get more of them."""
        plain = {**asdict(self), "bits": [str(bits) for bits in self.bits]}
        plain |= {"steps": self.recipe.steps, "recipe": self.recipe.ingredients}
        parts = plain.pop("parts")
        limits = {name: value for name, value in plain.pop("limits").items() if value}
        plain |= {"limits": limits} if limits else {}
        if parts:
            plain = {name: value for name, value in plain.items() if name not in ("networks", "bits", "seeds", "steps")}
        return plain


def read_parts(path: Path) -> tuple[Part, ...]:
    """Read the parts of a table: a TOML file of ``[[runs]]``, each with what ``Part`` has; ``bits`` may be several.

    Raises:
        QnasError: it is missing or no TOML, or has an unknown key or an unusable value.
    """
    what = "write [[runs]] with bits, networks, epochs, starts, seeds and mixed"
    content = read_toml(path, "the parts of a table", what)
    with reading(path, "the parts of a table", what):
        parts = [part for runs in content["runs"] for part in _parts(dict(runs), path)]
    if not parts:
        raise QnasError(f"{path} has no runs; {what}.")
    return tuple(parts)


def _parts(runs: dict[str, Any], path: Path) -> list[Part]:
    for key in runs:
        if key not in _KINDS:
            raise QnasError(f"{path}: unknown key {shown(key)}; {did_you_mean(key, _KINDS)}")
        if not isinstance(runs[key], _KINDS[key]) or isinstance(runs[key], bool) != (_KINDS[key] is bool):
            raise QnasError(f"{path}: {key} cannot be {shown(runs[key])}; correct it in the file.")
    several, rest = runs.pop("bits"), {**runs, **({"starts": tuple(runs["starts"])} if "starts" in runs else {})}
    return [Part(Bits.parse(str(one)), **rest) for one in several]


_KINDS: dict[str, Any] = {
    "bits": list,
    "networks": int,
    "epochs": (int, float),
    "starts": list,
    "seeds": int,
    "mixed": bool,
}
