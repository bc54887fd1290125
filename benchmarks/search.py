"""Which way of searching finds the best network for the same work? Best-so-far curves over seeds, with a figure.

    python benchmarks/search.py --table checkpoints/digits/truth.jsonl.gz --figure docs/search-table.svg
    python benchmarks/search.py --real --seconds 60 --seeds 10 --out runs/search --figure docs/search-real.svg

``--table`` replays ways of searching on a table of trained networks (``qnas study truth``), hundreds of times, each on
another hundred of its networks; work is counted in training steps. ``--real`` does everything for real; work is the
processor's time of one process. A curve is the test accuracy, averaged over seeds, of the network that has the best
validation accuracy of all fully trained ones so far; its band is the 95 % bootstrap interval of that average. The last
line is JSON.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import nullcontext
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import torch
from numpy.typing import NDArray
from winner import Silent, random_networks

from qnas.runs.files import append_row, read_rows
from qnas.data.registry import find_data
from qnas.data.images import DataSet
from qnas.scores.predicted import PredictedScore
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.training import jobs
from qnas.nas.candidate import Candidate
from qnas.space.genes import decode, gene_choices
from qnas.training.jobs import Job
from qnas.nas.budgets import Limits
from qnas.nas.search import open_run, prepare, search
from qnas.nas.settings import SearchSettings, training_lengths
from qnas.nas.screen import best, best_trained, estimate_all, spread
from qnas.nas.proposer import Proposer
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.studies.benchmark_table import Entry, BenchmarkTable, load_table
from qnas.training.qat import QATSettings, deployed_accuracy, train_network

Curve = list[tuple[float, float, float]]
"""Work so far, and validation and test accuracy of each fully trained network, in the order they were trained."""
SCORE_WORK = 0.5
"""Training steps that one score costs: 20 to 30 milliseconds and 9 for the prediction, beside 70 a step (race.py)."""
LABELS, SURVIVORS, TOP = 12, 6, 3
SUBSET = 100
"""Networks of a table that one replay may choose from."""
HALVED = 3
"""Successive halving keeps one network in so many."""
NAMES = {
    "qnas": "qnas: score, calibrate, halve, train from predicted",
    "random": "random search, trained from random",
    "random_predicted": "random search, trained from predicted",
    "halving": "successive halving from random",
    "halving_predicted": "successive halving from predicted",
    "tpe": "TPE on short runs from random",
    "nsga2": "NSGA-II on short runs from random",
}


class Replay:
    """A table at one pair of bit widths, which answers what training would."""

    def __init__(self, truth: BenchmarkTable, bits: str, space: SearchSpace) -> None:
        self.entries = [entry for entry in truth.entries if str(entry.genotype.bits) == bits]
        self.lengths = training_lengths(truth.settings["steps"])
        self.space = space

    def full(self, entry: Entry, start: str) -> tuple[float, float]:
        """Validation accuracy of the first seed's full run, and the mean test accuracy of all seeds'."""
        runs = entry.of(start, self.lengths[2])
        return runs[0].validation, fmean(run.test for run in runs)

    def short(self, entry: Entry, start: str, steps: int) -> float:
        """Validation accuracy of a shorter run."""
        return entry.of(start, steps)[0].validation

    def random(self, order: list[Entry], start: str) -> Curve:
        """Train one network after the other in full."""
        return [(self.lengths[2] * place, *self.full(entry, start)) for place, entry in enumerate(order, 1)]

    def halving(self, order: list[Entry], start: str) -> Curve:
        """Brackets of nine networks: all a short run, the best three a middle one, the best a full one."""
        short, middle, full = self.lengths
        curve: Curve = []
        work = 0.0
        for first in range(0, len(order) - HALVED**2 + 1, HALVED**2):
            bracket = order[first : first + HALVED**2]
            thirds = sorted(bracket, key=lambda one: -self.short(one, start, short))[:HALVED]
            winner = max(thirds, key=lambda one: self.short(one, start, middle))
            work += HALVED**2 * short + HALVED * middle + full
            curve.append((work, *self.full(winner, start)))
        return curve

    def qnas(self, order: list[Entry]) -> Curve:
        """The stages of ``qnas search`` with its own functions, on all networks of the table."""
        short, middle, full = self.lengths
        pairs = [
            (
                entry,
                Candidate(
                    entry.genotype, entry.costs, PredictedScore(*(entry.signals[k] for k in PredictedScore._fields))
                ),
            )
            for entry in order
        ]
        entry_of = {candidate.genotype: entry for entry, candidate in pairs}
        found = [candidate for _, candidate in pairs]
        work = SCORE_WORK * len(found)
        for chosen, steps in ((lambda: spread(found, LABELS), short), (lambda: best(found, SURVIVORS), middle)):
            for candidate in chosen():
                candidate.trained[steps] = self.short(entry_of[candidate.genotype], "predicted", steps)
                work += steps
            estimate_all(found, short, self.space)
        curve: Curve = []
        for candidate in best_trained(found, middle, TOP):
            work += full
            curve.append((work, *self.full(entry_of[candidate.genotype], "predicted")))
        return curve

    def curve(self, name: str, seed: int) -> Curve:
        """One seed of one way of searching: the networks come in another order."""
        order = [self.entries[place] for place in np.random.default_rng(seed).permutation(len(self.entries))[:SUBSET]]
        if name == "qnas":
            return self.qnas(order)
        return (self.halving if name.startswith("halving") else self.random)(order, _start(name))


def _score(entry: Entry) -> PredictedScore:
    return PredictedScore(*(entry.signals[name] for name in PredictedScore._fields))


def _start(name: str) -> str:
    return "predicted" if name.endswith("predicted") else "random"


class Real:
    """One real search of one process, with its clock."""

    def __init__(self, settings: SearchSettings, seconds: float) -> None:
        self.settings, self.seconds = settings, seconds
        self.data: DataSet = find_data(settings.data)
        self.prepared = prepare(settings)
        self.started = time.process_time()
        self.curve: Curve = []

    @property
    def work(self) -> float:
        """Seconds of the processor so far."""
        return time.process_time() - self.started

    def train(self, genotype: Genotype, steps: int) -> float:
        """Validation accuracy after training from random parameters; full runs go into the curve."""
        network = train_network(genotype, self.data, QATSettings(steps), self.settings.seed)
        accuracy = deployed_accuracy(network, self.data.validation).top1
        if steps == self.settings.steps:
            work = self.work
            self.curve.append((work, accuracy, deployed_accuracy(network, self.data.test).top1))
            self.started += self.work - work  # looking at the test images is no part of a search
        return accuracy

    def networks(self) -> Iterator[Genotype]:
        """Different random networks that keep the budget."""
        settings = self.settings
        return random_networks(self.prepared.space, settings.limits, settings.bits, settings.seed)

    def random(self) -> None:
        """Train one network after the other in full."""
        networks = self.networks()
        while self.work < self.seconds:
            self.train(next(networks), self.settings.steps)

    def halving(self) -> None:
        """Brackets of nine networks: all a short run, the best three a middle one, the best a full one."""
        short, middle, full = self.settings.rungs
        networks = self.networks()
        while self.work < self.seconds:
            left = list(islice(networks, HALVED**2))
            for steps in (short, middle):
                trained = [(self.train(genotype, steps), place) for place, genotype in enumerate(left)]
                left = [left[place] for _, place in sorted(trained, reverse=True)[: len(left) // HALVED]]
            self.train(left[0], full)

    def sampled(self, sampler: str) -> None:
        """A sampler that is told the accuracy after a middle run; whatever is the best so far is trained in full."""
        space, settings = self.prepared.space, self.settings
        proposer = Proposer(sampler, settings.seed, gene_choices(space))
        known: dict[str, float] = {}
        while self.work < self.seconds:
            (proposal,) = proposer.propose(1)
            genotype = decode(space, proposal.genes, settings.bits)
            excess = settings.limits.within(space).excess(costs(build_plan(genotype, space.task)))
            if excess <= 0 and genotype.key not in known:
                value = self.train(genotype, settings.rungs[1])
                improves = value > max(known.values(), default=-1.0)
                known[genotype.key] = value
                if improves:
                    self.train(genotype, settings.steps)
            proposer.tell([([known.get(genotype.key, 0.0)], excess)])

    def qnas(self) -> None:
        """``qnas search``; the clock is read as each full run ends."""
        original, settings = jobs.run_job, self.settings

        def watched(job: Job) -> dict[str, Any]:
            result = original(job)
            if job.steps == settings.steps:
                self.curve.append((self.work, result["top1"], 0.0))
            return result

        jobs.run_job = watched
        try:
            with tempfile.TemporaryDirectory() as name:
                folder = Path(name) / "search"
                open_run(self.prepared.identity, folder)
                picks = search(settings, self.prepared, folder, "cpu", 1, lambda title: nullcontext(Silent()))
        finally:
            jobs.run_job = original
        tests = {pick.best_trained: pick.test for pick in picks}
        self.curve = [(work, accuracy, tests[accuracy] or 0.0) for work, accuracy, _ in self.curve]


WAYS: dict[str, Callable[[Real], None]] = {
    "qnas": Real.qnas,
    "random": Real.random,
    "halving": Real.halving,
    "tpe": lambda real: real.sampled("tpe"),
    "nsga2": lambda real: real.sampled("nsga2"),
}


def really(name: str, settings: SearchSettings, seconds: float) -> dict[str, Any]:
    """One seed of one way of searching."""
    torch.set_num_threads(1)
    real = Real(settings, seconds)
    WAYS[name](real)
    return {"way": name, "seed": settings.seed, "curve": real.curve}


def incumbents(curve: Curve, grid: NDArray[np.float64]) -> NDArray[np.float64]:
    """Test accuracy of the best on validation at every amount of work; nothing (NaN) before the first."""
    result = np.full(len(grid), np.nan)
    top = -1.0
    for work, validation, test in curve:
        if validation > top:
            top = validation
            result[grid >= work] = test
    return result


def band(rows: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The 95 % bootstrap interval of the mean over rows."""
    draws = np.random.default_rng(0).integers(len(rows), size=(1000, len(rows)))
    low, high = np.quantile(rows[draws].mean(1), (0.025, 0.975), axis=0)
    return low, high


def report(curves: dict[str, list[Curve]], unit: str, title: str, figure: Path | None) -> dict[str, Any]:
    """Print and draw what every way has reached, and return it with how much work others need for what qnas has."""
    most = max(curve[-1][0] for every in curves.values() for curve in every)
    grid = np.geomspace(min(curve[0][0] for every in curves.values() for curve in every), most, 120)
    means = {}
    _, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    end = float(np.median([curve[-1][0] for curve in curves["qnas"]]))
    rows: dict[str, Any] = {}
    for name, every in curves.items():
        found = np.array([incumbents(curve, grid) for curve in every])
        shown = ~np.isnan(found).any(0)
        means[name] = found.mean(0)
        low, high = band(found[:, shown])
        (line,) = axes.plot(grid[shown], means[name][shown], label=NAMES[name])
        axes.fill_between(grid[shown], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        last = found[:, -1]
        at_end = last if name == "qnas" else found[:, int(np.searchsorted(grid, end, side="right")) - 1]
        rows[name] = {
            "seeds": len(every),
            "at_qnas_end": None if np.isnan(at_end).any() else round(float(at_end.mean()), 2),
            "sem_at_qnas_end": round(float(at_end.std(ddof=1) / len(at_end) ** 0.5), 2),
            "at_last": round(float(last.mean()), 2),
            "sem_at_last": round(float(last.std(ddof=1) / len(last) ** 0.5), 2),
        }
    goal = means["qnas"][-1]
    for name, mean in means.items():
        reached = np.flatnonzero(np.nan_to_num(mean, nan=-1.0) >= goal)
        rows[name]["work_for_qnas_accuracy"] = round(float(grid[reached[0]]), 1) if len(reached) else None
        print(f"{NAMES[name]:55} {rows[name]}")
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel("test accuracy of the best so far, %")
    axes.set_title(title)
    axes.legend(fontsize="small", loc="lower right")
    if figure:
        plt.savefig(figure, metadata={"Date": None})
    return {"qnas_work": round(end, 1), "work_until": round(most, 1), "unit": unit, "ways": rows}


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--real", action="store_true")
    parser.add_argument("--bits", default="w4a4")
    parser.add_argument("--seeds", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60.0, help="of the processor, for each real search")
    parser.add_argument("--steps", type=int, default=144, help="of a full run in a real search")
    parser.add_argument("--trials", type=int, default=100, help="networks that qnas scores in a real search")
    parser.add_argument("--max-params", type=int, default=50_000, help="in a real search")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("runs/search"), help="folder of real searches, continued")
    parser.add_argument("--figure", type=Path)
    options = parser.parse_args()
    plt.rcParams["svg.hashsalt"] = "qnas"
    if options.real == bool(options.table):
        parser.error("give either --table PATH or --real")
    curves: dict[str, list[Curve]]
    if options.table:
        truth = load_table(options.table)
        replay = Replay(truth, options.bits, prepare(SearchSettings(Bits.parse(options.bits))).space)
        ways = ("qnas", "random", "random_predicted", "halving", "halving_predicted")
        curves = {name: [replay.curve(name, seed) for seed in range(options.seeds)] for name in ways}
        unit, title = "work, training steps", f"replayed on a table of {len(replay.entries)} networks, {options.bits}"
    else:
        limits = Limits(params=options.max_params)
        options.out.mkdir(parents=True, exist_ok=True)
        log = options.out / f"{options.bits}.jsonl"
        rows = read_rows(log)
        done = {(row["way"], row["seed"]) for row in rows}
        with ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
            waiting = []
            for seed in range(options.seeds):
                settings = SearchSettings(
                    Bits.parse(options.bits), limits, trials=options.trials, steps=options.steps, seed=seed
                )
                for name in WAYS:
                    if (name, seed) not in done:
                        waiting.append(pool.submit(really, name, settings, options.seconds))
            for future in as_completed(waiting):
                rows.append(future.result())
                append_row(log, rows[-1])
                print(f"{len(rows)} of {len(WAYS) * options.seeds} searches", flush=True)
        curves = {name: [row["curve"] for row in rows if row["way"] == name] for name in WAYS}
        unit, title = "seconds of one processor core", f"real searches on the digits, {options.bits}"
    facts = report(curves, unit, title, options.figure)
    print(json.dumps({"bits": options.bits, "real": options.real, **facts}))


if __name__ == "__main__":
    main()
