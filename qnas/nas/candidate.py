"""A candidate: a genotype with all that the search has found out about it so far."""

from dataclasses import asdict, dataclass, field, replace
from typing import Any

from qnas.graph.statistics import graph_statistics
from qnas.network.costs import Costs
from qnas.network.plan import Plan
from qnas.scores.predicted import Score
from qnas.scores.surrogate import features
from qnas.space.genotype import Genotype


@dataclass(frozen=True)
class Candidate:
    """One network and its accuracies, in per cent.

    ``predicted`` is with predicted parameters; ``graph`` are the statistics of its graph; ``price`` is what training it
    costs, where it counts; ``estimate`` is for a short run, or where time is given for a full one, ``trained`` by the
    steps of each rung, all on validation images; ``test`` on the test images, read once at the end; ``failed`` says why
    a training run failed, if one did.
    """

    genotype: Genotype
    costs: Costs
    predicted: Score
    graph: tuple[float, ...] = ()
    price: float = 0.0
    estimate: float | None = None
    trained: dict[int, float] = field(default_factory=dict, hash=False)
    test: float | None = None
    failed: str = ""

    @classmethod
    def of(cls, genotype: Genotype, plan: Plan, costs: Costs, predicted: Score, price: float = 0.0) -> "Candidate":
        """A network that was only scored so far."""
        return cls(genotype, costs, predicted, tuple(graph_statistics(plan)), price)

    @property
    def key(self) -> str:
        """What tells it from all others."""
        return self.genotype.key

    @property
    def score(self) -> float:
        """Accuracy with predicted parameters."""
        return self.predicted.top1

    @property
    def best_trained(self) -> float | None:
        """Accuracy after the longest run so far."""
        return self.trained[max(self.trained)] if self.trained else None

    @property
    def features(self) -> list[float]:
        """What is known of it before training (``qnas.scores.surrogate.features``)."""
        return features(self.predicted, self.costs, self.graph)

    def after(self, steps: int, outcome: float | str) -> "Candidate":
        """The same network after a training run: with its accuracy, or the reason why it failed."""
        if isinstance(outcome, str):
            return replace(self, failed=outcome)
        return replace(self, trained={**self.trained, steps: outcome})

    def cost(self, name: str) -> float:
        """One of its costs."""
        return float(getattr(self.costs, name))

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "key": self.key,
            "score": self.score,
            "estimate": self.estimate,
            "trained": self.trained,
            "test": self.test,
            **asdict(self.costs),
            "genotype": self.genotype.to_json(),
            **({"failed": self.failed} if self.failed else {}),
        }
