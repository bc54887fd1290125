"""Which candidates get how much training: rungs that each train longer and fewer than the one before.

calibrate   short training of a few candidates, by which the estimates of all are mended
halve       middle training of the best of them; nothing where all of those go on
finish      full training of the best

Where steps are given, estimates are a regression's, fitted to the short runs (``qnas.scores.surrogate``). Where time is
given, all runs of a rung take the same time, and estimates are what an outlook expects of so long a full run
(``qnas.scores.outlook``); short runs go to those of whom most is expected or hoped, and mend the outlook.

Nothing here computes or writes: who trains and who expects are arguments, so a search, a replay on a table and a test
share it.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from qnas.errors import QnasError
from qnas.nas import pareto
from qnas.nas.candidate import Candidate
from qnas.nas.settings import SearchSettings
from qnas.scores.surrogate import Trust, fit_surrogate

FEWEST_LABELS = 3
"""Short runs without which there is no regression."""
Costs = tuple[str, ...]
"""Names of the costs that count beside accuracy."""


@dataclass(frozen=True)
class Rung:
    """One length of training, in steps of the usual network, and whether the trained weights are kept."""

    name: str
    steps: int
    keep: bool = False


class Outlook(Protocol):
    """What expects."""

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy in per cent that each candidate is expected to reach by a rung."""

    def hoped(self, candidates: Sequence[Candidate], rung: Rung) -> list[float]:
        """Accuracy in per cent that each candidate may well reach by a rung."""

    def after(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "Outlook":
        """The outlook of one who knows what these candidates reached by a rung."""

    def after_own(self, candidates: Sequence[Candidate], rung: Rung, accuracies: Sequence[float]) -> "Outlook":
        """The outlook of a search that has trained these candidates itself."""


class Trainer(Protocol):
    """What trains."""

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> Sequence[float | str]:
        """Accuracy of each candidate on validation images, in per cent, after it was trained anew for a rung.

        Or the reason why that failed.
        """


class Lengthen(Protocol):
    """What decides how long full runs are, once the short ones are done."""

    def __call__(self, short: Rung, full: Rung, chosen: Sequence[Candidate]) -> Rung:
        """The rung of full runs, which was planned as ``full``, where these candidates would train in full."""


def as_planned(short: Rung, full: Rung, chosen: Sequence[Candidate]) -> Rung:
    """What was planned stays."""
    return full


@dataclass(frozen=True)
class Selection:
    """What the rungs have found.

    ``candidates`` are all, in their order, with what is known of them; ``picks`` the fully trained ones, best first;
    ``front`` those of them that no other exceeds without costing more; ``trust`` says how far estimates can be trusted,
    if there were short runs enough to tell.
    """

    candidates: list[Candidate]
    picks: list[Candidate]
    front: list[Candidate]
    trust: Trust | None


def select(
    candidates: Sequence[Candidate],
    trainer: Trainer,
    settings: SearchSettings,
    outlook: Outlook | None = None,
    lengthen: Lengthen = as_planned,
) -> Selection:
    """Climb the rungs. Whose training fails climbs no further; the next best one takes its place.

    Args:
        candidates: scored ones.
        trainer: trains.
        settings: of the search: how many get how much, and which costs count.
        outlook: expects, where time is given.
        lengthen: decides how long full runs are, where time is given.

    Raises:
        QnasError: no full training succeeded.
    """
    costs, wanted = settings.pareto, max(settings.survivors, settings.top)
    short, middle, full = rungs_of(settings)
    if outlook:
        known = foreseen(candidates, full, outlook)
        known = train(known, hopefuls(known, settings.labels, full, outlook, costs), short, trainer)
        planned = _most_expected(wiser(known, short, full, outlook), costs)
        full = lengthen(short, full, planned[: settings.top])
        known, trust = mended(known, short, full, outlook)
        ranked = _most_expected(known, costs)
    else:
        known = train(candidates, stratified(candidates, settings.labels, costs), short, trainer)
        known, trust = estimate(known, short.steps)
        ranked = best((one for one in known if not one.failed), len(known), costs)
    if min(len(ranked), wanted) > settings.top:
        known = train_first(known, ranked, wanted, middle, trainer)
        ranked = best_trained(known, middle.steps, wanted, costs)
    known = train_first(known, ranked, settings.top, full, trainer)
    picks = best_trained(known, full.steps, settings.top)
    if not picks:
        reason = next((one.failed for one in known if one.failed), "there were none")
        raise QnasError(
            f"A search ends with a network that was trained in full, but all {len(ranked)} that got so far failed "
            f"({reason}); the same command tries again, or begin another one with more `trials` or another `recipe`."
        )
    return Selection(known, picks, on_front(picks, full.steps, costs), trust)


def _most_expected(known: Sequence[Candidate], costs: Costs) -> list[Candidate]:
    return rank((one for one in known if one.trained), expectation, costs)


def rungs_of(settings: SearchSettings) -> tuple[Rung, Rung, Rung]:
    """The rungs of a search."""
    short, middle, full = settings.lengths
    return Rung("calibrate", short), Rung("halve", middle), Rung("finish", full, keep=True)


def train(known: Sequence[Candidate], chosen: Sequence[Candidate], rung: Rung, trainer: Trainer) -> list[Candidate]:
    """All candidates, the chosen ones with their accuracy after a rung."""
    accuracies = dict(zip((one.key for one in chosen), trainer(chosen, rung), strict=True))
    return [one.after(rung.steps, accuracies[one.key]) if one.key in accuracies else one for one in known]


def train_first(
    known: Sequence[Candidate], ranked: Sequence[Candidate], count: int, rung: Rung, trainer: Trainer
) -> list[Candidate]:
    """All candidates, the first so many of a ranking trained for a rung, and the next ones in place of whose fails."""
    known, left, missing = list(known), list(ranked), count
    while left and missing:
        chosen, left = left[:missing], left[missing:]
        known = train(known, chosen, rung, trainer)
        keys = {one.key for one in chosen}
        missing = sum(bool(one.failed) for one in known if one.key in keys)
    return known


def foreseen(candidates: Sequence[Candidate], rung: Rung, outlook: Outlook) -> list[Candidate]:
    """All candidates with what is expected of a rung as their estimate."""
    return [replace(one, estimate=value) for one, value in zip(candidates, outlook(candidates, rung), strict=True)]


def hopefuls(
    candidates: Sequence[Candidate], count: int, rung: Rung, outlook: Outlook, costs: Costs = ()
) -> list[Candidate]:
    """Candidates to try: in turn of whom most is expected, and of whom most is hoped if those before reach just that.

    So the one hoped for is no twin of one before (GP-BUCB: Desautels, Krause and Burdick, 2014), and what is known to
    be good is tried, too. Where costs count, their fronts are those of what is hoped.
    """
    chosen, left = list[Candidate](), list(candidates)
    while left and len(chosen) < count:
        values = outlook.hoped(left, rung) if costs or len(chosen) % 2 else outlook(left, rung)
        valued = [replace(one, estimate=value) for one, value in zip(left, values, strict=True)]
        ranked = rank(valued, expectation, costs)
        if costs:
            return ranked[:count]
        chosen.append(ranked[0])
        left = [one for one in left if one.key != ranked[0].key]
        outlook = outlook.after(ranked[:1], rung, outlook(ranked[:1], rung))
    return chosen


def wiser(known: Sequence[Candidate], short: Rung, full: Rung, outlook: Outlook) -> list[Candidate]:
    """All candidates with an estimate of a full run that takes all short runs into account."""
    labelled, seen = _labels(known, short)
    return foreseen(known, full, outlook.after_own(labelled, short, seen)) if labelled else list(known)


def _labels(known: Sequence[Candidate], short: Rung) -> tuple[list[Candidate], list[float]]:
    """Those that had a short run, and what they reached by it."""
    labelled = [one for one in known if short.steps in one.trained]
    return labelled, [one.trained[short.steps] for one in labelled]


def mended(
    known: Sequence[Candidate], short: Rung, full: Rung, outlook: Outlook
) -> tuple[list[Candidate], Trust | None]:
    """All candidates as they are known by ``wiser``.

    And how well the outlook expected each short run when it knew the others, if they are enough to tell.
    """
    (labelled, seen), estimated = _labels(known, short), wiser(known, short, full, outlook)
    if len(labelled) < FEWEST_LABELS:
        return estimated, None
    expected = [
        outlook.after_own(_without(labelled, place), short, _without(seen, place))([one], short)[0]
        for place, one in enumerate(labelled)
    ]
    return estimated, Trust.of(expected, seen, [one.costs.params for one in labelled])


def _without(items: Sequence[Any], place: int) -> list[Any]:
    return [*items[:place], *items[place + 1 :]]


def estimate(known: Sequence[Candidate], short: int) -> tuple[list[Candidate], Trust | None]:
    """All candidates with an estimate, by a regression on those that had a short run, if they are enough."""
    labelled = [one for one in known if short in one.trained]
    if len(labelled) < FEWEST_LABELS:
        return list(known), None
    surrogate = fit_surrogate([one.features for one in labelled], [one.trained[short] for one in labelled])
    values = surrogate.estimate([one.features for one in known])
    return [replace(one, estimate=value) for one, value in zip(known, values, strict=True)], surrogate.trust


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


def promise(candidate: Candidate) -> tuple[float, float]:
    """The estimate of a regression, averaged with the short run's accuracy where there is one; then the score."""
    expected = candidate.estimate if candidate.estimate is not None else candidate.score
    seen = candidate.best_trained
    return expected if seen is None else (expected + seen) / 2, candidate.score


def best(candidates: Iterable[Candidate], count: int, costs: Costs = ()) -> list[Candidate]:
    """The most promising candidates, best first."""
    return rank(candidates, promise, costs)[:count]


def expectation(candidate: Candidate) -> tuple[float, float]:
    """The estimate of an outlook; then the score."""
    return candidate.estimate or 0.0, candidate.score


def best_trained(candidates: Iterable[Candidate], steps: int, count: int, costs: Costs = ()) -> list[Candidate]:
    """The candidates of the highest accuracy after ``steps``, best first; score and then size break ties."""
    trained = sorted((one for one in candidates if steps in one.trained), key=lambda one: one.key)
    return rank(trained, lambda one: (one.trained[steps], one.score, -one.costs.params), costs)[:count]


def on_front(candidates: list[Candidate], steps: int, costs: Costs) -> list[Candidate]:
    """Those that no other exceeds in accuracy after ``steps`` without costing more."""
    points = [(-one.trained[steps], *map(one.cost, costs)) for one in candidates]
    return [candidates[place] for place in pareto.fronts(points)[0]]
