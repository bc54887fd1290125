"""What a search that is given time expects of its candidates, by an outlook and its own plan."""

from collections.abc import Mapping, Sequence
from typing import Any

from qnas.nas.candidate import Candidate
from qnas.nas.rungs import Rung
from qnas.nas.settings import SearchSettings, paid_steps
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.scores.outlook import Outlook
from qnas.space.space import SearchSpace
from qnas.training.price import price


class Foresight:
    """Expects accuracies (``qnas.nas.rungs.Outlook``), and chooses among genes (``qnas.nas.samplers.Choose``).

    Args:
        outlook: of the checkpoint.
        settings: of the search.
        space: with its limits counted for the data.
    """

    def __init__(self, outlook: Outlook, settings: SearchSettings, space: SearchSpace) -> None:
        self.outlook, self.settings, self.space = outlook, settings, space
        self.limits = settings.limits.within(space)

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy in per cent that each candidate is expected to reach by a rung."""
        return self._expected([build_plan(one.genotype, self.space.task) for one in candidates], rung.steps)

    def choose(self, drawn: Sequence[Mapping[str, Any]]) -> int:
        """The place of the genes whose full run is expected to reach the most, of those that keep the budgets.

        The first, if none does.
        """
        plans = [build_plan(self.settings.decode(self.space, genes), self.space.task) for genes in drawn]
        fitting = [place for place, plan in enumerate(plans) if self.limits.excess(costs(plan)) <= 0]
        expected = self._expected([plans[place] for place in fitting], self.settings.recipe.steps)
        return max(zip(expected, fitting, strict=True), default=(0.0, 0))[1]

    def _expected(self, plans: Sequence[Plan], steps: int) -> list[float]:
        batch, usual = self.settings.recipe.batch, self.settings.usual_price
        return self.outlook.of(plans, [batch * paid_steps(steps, usual, price(plan, batch)) for plan in plans])
