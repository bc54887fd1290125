"""Which candidates get how much training: rungs that each train longer and fewer than the one before.

Where time is given, full runs are equally long in time, all others in steps: so short ones do not favour networks that
are cheap to train and end low. What the dearer networks' fewer steps will cost them in the end is taken off
(``PER_DOUBLING``).

calibrate   short training of a few candidates; a regression from score, size and graph to their accuracy ranks all
refine      short training of half as many more, the best estimates; the regression is fitted anew
halve       middle training of the best of them; nothing where all of those go on
finish      full training of the best

Nothing here computes or writes: who trains is an argument, so a search, a replay on a table and a test share it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import log2
from typing import Protocol

from qnas.nas import pareto
from qnas.nas.candidate import Candidate
from qnas.nas.settings import SearchSettings
from qnas.scores.surrogate import Surrogate, fit_surrogate

FEWEST_LABELS = 3
"""Short runs without which there is no regression."""
PER_DOUBLING = 0.5
"""Points of accuracy that a doubled run gains, about, when it has some passes over the images behind it: on
Fashion-MNIST 1.4 from 2.5 to 5 passes, and much less for small networks that have seen more."""
Costs = tuple[str, ...]
"""Names of the costs that count beside accuracy."""


@dataclass(frozen=True)
class Rung:
    """One length of training, and whether the trained weights are kept.

    ``timed``: who is dearer to train than the usual network gets fewer steps, for the same time.
    """

    name: str
    steps: int
    keep: bool = False
    timed: bool = False


class Trainer(Protocol):
    """What trains."""

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy of each candidate on validation images, in per cent, after it was trained anew for a rung."""


@dataclass(frozen=True)
class Selection:
    """What the rungs have found.

    ``candidates`` are all, in their order, with what is known of them; ``picks`` the fully trained ones, best first;
    ``front`` those of them that no other exceeds without costing more; ``surrogate`` the regression, if it had labels.
    """

    candidates: list[Candidate]
    picks: list[Candidate]
    front: list[Candidate]
    surrogate: Surrogate | None


def select(candidates: Sequence[Candidate], trainer: Trainer, settings: SearchSettings) -> Selection:
    """Climb the rungs.

    Args:
        candidates: scored ones.
        trainer: trains.
        settings: of the search: how many get how much, and which costs count.
    """
    costs = settings.pareto
    short, middle, full = rungs_of(settings)
    explored = settings.labels - settings.labels // 3
    first = (
        spread_over_prices(candidates, explored) if settings.usual_price else stratified(candidates, explored, costs)
    )
    known = train(candidates, first, short, trainer)
    known, _ = estimate(known, short.steps)
    refine = replace(short, name="refine")
    untried = best(untrained(known), settings.labels - explored, costs)
    known = train(known, untried, refine, trainer) if untried else known
    known, surrogate = estimate(known, short.steps)
    wanted = max(settings.survivors, settings.top)
    tried = [one for one in known if one.trained]
    chosen = best(tried if len(tried) >= wanted else known, wanted, costs)
    if len(chosen) > settings.top:
        known = train(known, chosen, middle, trainer)
        chosen = best_trained(known, middle.steps, settings.top, costs)
    known = train(known, chosen, full, trainer)
    picks = best_trained(known, full.steps, settings.top)
    return Selection(known, picks, on_front(picks, full.steps, costs), surrogate)


def rungs_of(settings: SearchSettings) -> tuple[Rung, Rung, Rung]:
    """The rungs of a search."""
    short, middle, full = settings.lengths
    timed = settings.usual_price > 0
    return Rung("calibrate", short), Rung("halve", middle), Rung("finish", full, keep=True, timed=timed)


def train(known: Sequence[Candidate], chosen: Sequence[Candidate], rung: Rung, trainer: Trainer) -> list[Candidate]:
    """All candidates, the chosen ones with their accuracy after a rung."""
    accuracies = dict(zip((one.key for one in chosen), trainer(chosen, rung), strict=True))
    return [one.after(rung.steps, accuracies[one.key]) if one.key in accuracies else one for one in known]


def estimate(known: Sequence[Candidate], short: int) -> tuple[list[Candidate], Surrogate | None]:
    """All candidates with an estimate, by a regression on those that had a short run, if they are enough."""
    labelled = [one for one in known if short in one.trained]
    if len(labelled) < FEWEST_LABELS:
        return list(known), None
    surrogate = fit_surrogate([one.features for one in labelled], [one.trained[short] for one in labelled])
    values = surrogate.estimate([one.features for one in known])
    return [replace(one, estimate=value) for one, value in zip(known, values, strict=True)], surrogate


Value = Callable[[Candidate], tuple[float, ...]]
"""What candidates are ranked by, the higher the better; what comes after the first number breaks ties."""


def rank(candidates: Iterable[Candidate], value: Value, costs: Costs = ()) -> list[Candidate]:
    """Candidates, best first: by their value, or where costs count, front by front of both (``qnas.nas.pareto``)."""
    ranked = sorted(candidates, key=value, reverse=True)
    if not costs or not ranked:
        return ranked
    points = [(-value(one)[0], *map(one.cost, costs)) for one in ranked]
    return [ranked[place] for place in pareto.order(points)]


def stratified(candidates: Iterable[Candidate], count: int, costs: Costs = ()) -> list[Candidate]:
    """A few candidates to label: two thirds of them the best scores, the rest evenly over all others."""
    ranked = rank(candidates, lambda one: (one.score,), costs)
    if len(ranked) <= count:
        return ranked
    first = count - count // 3
    others = ranked[first:]
    step = len(others) / max(1, count - first)
    return ranked[:first] + [others[int(place * step)] for place in range(count - first)]


def spread_over_prices(candidates: Iterable[Candidate], count: int) -> list[Candidate]:
    """A few candidates to label where time counts: from cheap to dear in equal parts, of each part the best score."""
    ranked = sorted(candidates, key=lambda one: (one.price, one.key))
    ends = (
        [len(ranked) * place // count for place in range(count + 1)] if len(ranked) > count else range(len(ranked) + 1)
    )
    return [max(ranked[start:end], key=lambda one: one.score) for start, end in pairwise(ends)]


def promise(candidate: Candidate) -> tuple[float, float]:
    """What candidates are ranked by: the estimate, averaged with a short run's accuracy where there is one.

    Where prices count, less what the dearer networks' fewer steps will cost them.
    """
    expected = candidate.estimate if candidate.estimate is not None else candidate.score
    seen = candidate.best_trained
    late = PER_DOUBLING * log2(candidate.price) if candidate.price else 0.0
    return (expected if seen is None else (expected + seen) / 2) - late, candidate.score


def untrained(candidates: Iterable[Candidate]) -> list[Candidate]:
    """Those that had no training run."""
    return [one for one in candidates if not one.trained]


def best(candidates: Iterable[Candidate], count: int, costs: Costs = ()) -> list[Candidate]:
    """The most promising candidates, best first."""
    return rank(candidates, promise, costs)[:count]


def best_trained(candidates: Iterable[Candidate], steps: int, count: int, costs: Costs = ()) -> list[Candidate]:
    """The candidates of the highest accuracy after ``steps``, best first; score and then size break ties."""
    trained = sorted((one for one in candidates if steps in one.trained), key=lambda one: one.key)
    return rank(trained, lambda one: (one.trained[steps], one.score, -one.costs.params), costs)[:count]


def on_front(candidates: list[Candidate], steps: int, costs: Costs) -> list[Candidate]:
    """Those that no other exceeds in accuracy after ``steps`` without costing more."""
    points = [(-one.trained[steps], *map(one.cost, costs)) for one in candidates]
    return [candidates[place] for place in pareto.fronts(points)[0]]
