"""The best networks of a search so far, for whoever watches it."""

from collections.abc import Iterable
from heapq import nlargest
from typing import Any

from qnas.nas.candidate import Candidate
from qnas.nas.screen import genes_of
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.runs.progress import Watch
from qnas.scores.predicted import Score
from qnas.space.genes import gene_choices
from qnas.space.space import SearchSpace
from qnas.work.queue import WorkQueue, payload_of

MOST = 5
"""Networks that are shown."""


class Leaders:
    """Those that were trained longest, by their accuracy then, and after them those that were scored, by their score.

    Args:
        watch: told of them whenever they may have changed.
        settings: of the search.
        space: with its limits counted for the data.
    """

    def __init__(self, watch: Watch, settings: SearchSettings, space: SearchSpace) -> None:
        self.watch, self.settings, self.space = watch, settings, space
        self.choices = gene_choices(space, settings.layer_choices)
        self.first: list[Candidate] = []
        self.seen: set[str] = set()
        self.scored, self.best = 0, 0.0

    def look(self, queue: WorkQueue) -> None:
        """Take note of what all processes have scored since."""
        new = [queue.done[task] for task in queue.done.keys() - self.seen]
        self.seen |= queue.done.keys()
        scored = [(trial, Score(*payload_of(trial)["score"])) for trial in new if payload_of(trial)["images"]]
        self.scored += len(scored)
        leading = []
        for trial, score in nlargest(MOST, scored, key=lambda pair: pair[1].top1):
            genotype = self.settings.decode(self.space, genes_of(self.choices, trial))
            leading.append(Candidate(genotype, costs(build_plan(genotype, self.space.task)), score))
            self.best = max(self.best, score.top1)
        self.note(leading)

    def note(self, candidates: Iterable[Candidate]) -> None:
        """Take note of what is known of some networks by now."""
        known = {one.key: one for one in self.first} | {one.key: one for one in candidates}
        first = nlargest(MOST, (one for one in known.values() if not one.failed), key=_standing)
        if first != self.first:
            self.first = first
            self.watch([_row(one) for one in first])


def _standing(one: Candidate) -> tuple[float, float, float]:
    return max(one.trained, default=0), one.best_trained or 0.0, one.score


def _row(one: Candidate) -> dict[str, Any]:
    spent = {name: getattr(one.costs, name) for name in ("params", "macs", "weight_bytes", "activation_bytes")}
    return {
        "key": one.key, "score": one.score, "trained": one.best_trained, "steps": max(one.trained, default=0), **spent
    }  # fmt: skip
