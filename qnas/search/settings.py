"""The settings of a search, which also tell one run folder from another."""

from dataclasses import asdict, dataclass, field
from typing import Any

from qnas.errors import at_least_one
from qnas.quant.scheme import Bits
from qnas.search.limits import Limits


@dataclass(frozen=True)
class SearchSettings:
    """What is searched for, where, and how hard.

    Args:
        bits: widths of weights and activations.
        limits: budgets.
        data: name or path of the data set.
        space: name or path of the search space.
        ghn: name or path of the checkpoint.
        sampler: proposes genes.
        trials: different networks within the budgets that the hypernetwork scores.
        calibration: how many of them get a short training run, to calibrate the scores.
        survivors: how many get a middle one.
        top: how many are trained in full.
        steps: of a full training run; a middle one has a quarter, a short one a twelfth.
        seed: of everything random.

    Raises:
        QnasError: a count is out of range.
    """

    bits: Bits
    limits: Limits = field(default_factory=Limits)
    data: str = "digits"
    space: str = "tiny"
    ghn: str = "digits"
    sampler: str = "auto"
    trials: int = 200
    calibration: int = 12
    survivors: int = 6
    top: int = 3
    steps: int = 900
    seed: int = 0

    def __post_init__(self) -> None:
        at_least_one({"--trials": self.trials, "--top": self.top, "--steps": self.steps})

    @property
    def rungs(self) -> tuple[int, int, int]:
        """Training steps of a short, a middle and a full run."""
        return training_lengths(self.steps)

    def identity(self) -> dict[str, Any]:
        """Plain values that must be the same for a run to go on."""
        return {**asdict(self), "bits": str(self.bits)}


def training_lengths(steps: int) -> tuple[int, int, int]:
    """Steps of a short, a middle and a full training run of a search."""
    return max(1, steps // 12), max(1, steps // 4), steps
