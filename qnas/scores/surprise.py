"""By how much a network's score surprises: what is left of it once all that is known without it is taken away.

So a score adds to an outlook what costs and graphs do not tell, and one that is not known adds nothing.
"""

from dataclasses import dataclass, replace

import numpy as np
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from qnas.scores.surrogate import Floats

FEWEST = 20
"""Networks with scores, without which it is not known what is usual."""
STIFFNESS = 100.0
"""Of the regression, in squares of scaled inputs: 10 to 100 were best of 1 to 100."""
BOUND = 2.0
"""Standard deviations that no surprise gets beyond: a hypernetwork that fails at a network says little of it."""
LEAST = 1e-6
"""Spread of log-odds below which all scores are alike, as a hypernetwork at chance gives them."""


@dataclass(frozen=True)
class Surprise:
    """What scores are usual, and how much they differ from that.

    Args:
        usual: a ridge regression from what is known without a score to the score's log-odds.
        spread: standard deviation of what it leaves unexplained.
        shift: median surprise of networks whose scores lie on another level.
    """

    usual: Pipeline
    spread: float
    shift: float = 0.0

    def __call__(self, known: Floats, scores: Floats) -> Floats:
        """Surprises in standard deviations, (networks,); 0 where there is no score.

        Args:
            known: (networks, inputs).
            scores: their log-odds, not a number where there is none, (networks,).
        """
        found: Floats = BOUND * np.tanh(self._unbounded(known, scores) / BOUND)
        return np.where(np.isnan(found), 0.0, found)

    def _unbounded(self, known: Floats, scores: Floats) -> Floats:
        found: Floats = (scores - self.usual.predict(known)) / self.spread - self.shift
        return found

    def used_to(self, known: Floats, scores: Floats) -> "Surprise":
        """The same where the median of these networks is no surprise; those without a score say nothing."""
        there = np.isfinite(scores)
        if not there.any():
            return self
        return replace(self, shift=self.shift + float(np.median(self._unbounded(known[there], scores[there]))))


def learned(known: Floats, scores: Floats) -> Surprise | None:
    """What is usual by these networks; nothing if too few have a score."""
    there = np.isfinite(scores)
    if there.sum() < FEWEST:
        return None
    usual = make_pipeline(StandardScaler(), Ridge(STIFFNESS)).fit(known[there], scores[there])
    spread = float(np.std(scores[there] - usual.predict(known[there])))
    return Surprise(usual, spread) if spread > LEAST else None
