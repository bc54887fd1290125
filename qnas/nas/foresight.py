"""What a search that is given time expects of its candidates, by an outlook and its own plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from qnas.nas.budgets import closed_form
from qnas.nas.candidate import Candidate
from qnas.nas.rungs import Rung
from qnas.nas.settings import SearchSettings, paid_steps
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.scores.outlook import Outlook, rows_of, worth
from qnas.scores.surrogate import Floats
from qnas.space.space import SearchSpace
from qnas.training.price import price


@dataclass(frozen=True)
class Foresight:
    """Expects accuracies (``qnas.nas.rungs.Outlook``), and chooses among genes (``qnas.nas.samplers.Choose``).

    Args:
        outlook: of the checkpoint.
        settings: of the search.
        space: with its limits counted for the data.
        distinct: how many training images there are.
        read: what outlooks read of candidates by the steps of rungs, so that it is computed once.
    """

    outlook: Outlook
    settings: SearchSettings
    space: SearchSpace
    distinct: int
    read: dict[tuple[str, int], Floats] = field(default_factory=dict, repr=False)

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy in per cent that each candidate is expected to reach by a rung."""
        return self.outlook.expected(self._rows(candidates, rung))

    def hoped(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy in per cent that each candidate may well reach by a rung."""
        return self.outlook.hoped(self._rows(candidates, rung))

    def after(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "Foresight":
        """What is expected once these candidates reached these accuracies by a rung."""
        return replace(self, outlook=self.outlook.after(self._rows(candidates, rung), accuracies))

    def after_own(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "Foresight":
        """What is expected once the search itself has seen these candidates reach these accuracies by a rung."""
        return replace(self, outlook=self.outlook.after_own(self._rows(candidates, rung), accuracies))

    def used_to(self, candidates: Sequence[Candidate], rung: Rung) -> "Foresight":
        """The same, where scores are as high on average as these networks' are; the rung does not matter."""
        return replace(self, outlook=self.outlook.used_to(self._rows(candidates, rung)))

    def choose(self, drawn: Sequence[Mapping[str, Any]], seed: int) -> int:
        """The place of the genes whose full run is expected to reach the most, or hoped, of those within the budgets.

        If there are none, of those that exceed them least. Every other seed hopes. On images that the outlook knows
        nothing of it is by one of many ideas of what they favour, drawn by the seed.
        """
        limits, steps = self.settings.limits.within(self.space), self.settings.recipe.steps
        plans = [build_plan(self.settings.decode(self.space, genes), self.space.task) for genes in drawn]
        model = closed_form(self.settings.counted, self.settings.recipe.grid, quick=True)
        excess = [max(0.0, limits.excess(model(plan))) for plan in plans]
        fitting = {place: plan for place, plan in enumerate(plans) if excess[place] == min(excess)}
        seen = [self._images(plan, steps) for plan in fitting.values()]
        rows = rows_of([*fitting.values()], seen)
        outlook = self.outlook
        known = outlook.hoped if seed % 2 else outlook.expected
        values = outlook.imagined(rows, seed) if outlook.strange else known(rows)
        return max(zip(values, fitting, strict=True))[1]

    def _rows(self, candidates: Sequence[Candidate], rung: Rung) -> Floats:
        for one in candidates:
            if (one.key, rung.steps) not in self.read:
                plan = build_plan(one.genotype, self.space.task)
                self.read[one.key, rung.steps] = rows_of([plan], [self._images(plan, rung.steps)], [one.score])[0]
        return np.array([self.read[one.key, rung.steps] for one in candidates])

    def _images(self, plan: Plan, steps: int) -> float:
        """What the images are worth that a network sees in the time of so many steps of the usual one."""
        batch = self.settings.recipe.batch
        return worth(batch * paid_steps(steps, self.settings.usual_price, price(plan, batch)), self.distinct)
