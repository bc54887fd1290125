"""Real searches of one process, with its clock: ``qnas search``, and what it is held against."""

import json
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import count, islice, takewhile
from math import inf
from pathlib import Path
from typing import Any

from common import random_networks, settle
from replays import HALVED, Curve

from qnas.nas.prepare import open_prepared, prepare
from qnas.nas.proposer import Proposer
from qnas.nas.search import Means, search
from qnas.nas.settings import SearchSettings, paid_steps
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.runs.identity import IMAGES
from qnas.space.genes import decode, gene_choices
from qnas.space.genotype import Genotype
from qnas.training.jobs import Job, predictor_of, run_job
from qnas.training.price import price
from qnas.training.qat import deployed_accuracy, train_network
from qnas.work.ledger import Result


class Real:
    """One real search of one process, with its clock; reading data, hypernetworks and tables is before it begins.

    Args:
        settings: of the search.
        seconds: after which no other network is begun.
        predicted: whether training begins from the hypernetwork's parameters, as that of ``qnas search`` does.
    """

    def __init__(self, settings: SearchSettings, seconds: float = inf, predicted: bool = False) -> None:
        self.settings, self.seconds = settings, seconds
        self.prepared = prepare(settings)
        ghn = predictor_of(settings.ghn, settings.data, "cpu", json.dumps(self.prepared.identity[IMAGES]))
        self.ghn = ghn if predicted else None
        self.started = time.process_time()
        self.curve: Curve = []
        self.kept: list[str] = []

    @property
    def work(self) -> float:
        """Seconds of the processor so far."""
        return time.process_time() - self.started

    def train(self, genotype: Genotype, steps: int) -> float:
        """Validation accuracy after training; full runs go into the curve."""
        settings, data = self.settings, self.prepared.data
        plan = build_plan(genotype, data.task)
        own = paid_steps(steps, settings.usual_price, price(plan, settings.recipe.batch))
        network = train_network(plan, data, settings.recipe.of(own), settings.seed, self.ghn)
        accuracy = deployed_accuracy(network, data.validation).top1
        if steps == settings.recipe.steps:
            work = self.work
            self.curve.append((work, accuracy, deployed_accuracy(network, data.test).top1))
            self.started += self.work - work  # looking at the test images is no part of a search
        return accuracy

    def networks(self) -> Iterator[Genotype]:
        """Different random networks that keep the budget."""
        settings = self.settings
        return random_networks(self.prepared.space, settings.limits, settings.bits, settings.seed)

    def rounds(self, most: int | None) -> Iterator[int]:
        """Counts as long as there is time, up to so many."""
        return takewhile(lambda _: self.work < self.seconds, islice(count(), most))

    def random(self, most: int | None = None) -> None:
        """Train one network after the other in full, up to so many."""
        networks = self.networks()
        for _ in self.rounds(most):
            self.train(next(networks), self.settings.recipe.steps)

    def halving(self, most: int | None = None) -> None:
        """Brackets of nine networks, up to so many: a short run for all, a middle one for three, a full one for one."""
        short, middle, full = self.settings.lengths
        networks = self.networks()
        for _ in self.rounds(most):
            left = list(islice(networks, HALVED**2))
            for steps in (short, middle):
                trained = [(self.train(genotype, steps), place) for place, genotype in enumerate(left)]
                left = [left[place] for _, place in sorted(trained, reverse=True)[: len(left) // HALVED]]
            self.train(left[0], full)

    def sampled(self, sampler: str) -> None:
        """A sampler that is told the accuracy after a middle run; whatever is the best so far is trained in full."""
        space, settings = self.prepared.space, self.settings
        proposer, limits = Proposer(sampler, settings.seed, gene_choices(space)), settings.limits.within(space)
        known: dict[str, float] = {}
        while self.work < self.seconds:
            (genes,) = proposer.propose(1)
            genotype = decode(space, genes, settings.bits)
            excess = limits.excess(costs(build_plan(genotype, space.task)))
            if excess <= 0 and genotype.key not in known:
                value = self.train(genotype, settings.lengths[1])
                improves = value > max(known.values(), default=-1.0)
                known[genotype.key] = value
                if improves:
                    self.train(genotype, settings.recipe.steps)
            proposer.tell([([known.get(genotype.key, 0.0)], excess)])

    def watched(self, job: Job) -> Result:
        """Do a training job of ``qnas search``; the clock is read as each full run ends."""
        result = run_job(job)
        if job.output:
            self.curve.append((self.work, result["top1"], 0.0))
            self.kept.append(job.genotype.key)
        return result

    def qnas(self) -> None:
        """``qnas search``."""
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "search"
            open_prepared(self.prepared, folder)
            picks = search(self.settings, self.prepared, folder, Means(do=self.watched))
        tests = {pick.key: pick.test or 0.0 for pick in picks}
        done = zip(self.curve, self.kept, strict=True)
        self.curve = [(work, accuracy, tests[key]) for (work, accuracy, _), key in done]


WAYS: dict[str, Callable[[Real], None]] = {
    "qnas": Real.qnas,
    "random": Real.random,
    "halving": Real.halving,
    "tpe": lambda real: real.sampled("tpe"),
    "nsga2": lambda real: real.sampled("nsga2"),
}


def really(name: str, settings: SearchSettings, seconds: float) -> dict[str, Any]:
    """One seed of one way of searching."""
    settle()
    real = Real(settings, seconds)
    WAYS[name](real)
    return {"way": name, "seed": settings.seed, "curve": real.curve}
