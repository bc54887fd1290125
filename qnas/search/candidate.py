"""A candidate: a genotype with all that the search has found out about it so far."""

from dataclasses import asdict, dataclass
from typing import Any

from qnas.evaluation.signals import PredictedScore
from qnas.network.costs import Costs
from qnas.space.genotype import Genotype


@dataclass
class Candidate:
    """One network and its accuracies, in per cent.

    ``predicted`` is with predicted parameters, ``score`` its accuracy, ``estimate`` for a short run, ``trained`` by the
    steps of each run, all on validation images; ``test`` on the test images, read once at the end.
    """

    genotype: Genotype
    costs: Costs
    predicted: PredictedScore
    estimate: float | None = None
    test: float | None = None

    def __post_init__(self) -> None:
        self.trained: dict[int, float] = {}

    @property
    def score(self) -> float:
        """Accuracy with predicted parameters."""
        return self.predicted.top1

    @property
    def best_trained(self) -> float | None:
        """Accuracy after the longest run so far."""
        return self.trained[max(self.trained)] if self.trained else None

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return {
            "key": self.genotype.key,
            "score": self.score,
            "estimate": self.estimate,
            "trained": self.trained,
            "test": self.test,
            **asdict(self.costs),
            "genotype": self.genotype.to_json(),
        }
