"""Which way of searching finds the best network for the same work? Best-so-far curves over seeds, with a figure.

    python benchmarks/search.py --table checkpoints/digits/truth.jsonl.gz --figure docs/search-table.svg
    python benchmarks/search.py --real --seconds 60 --seeds 10 --out runs/search --figure docs/search-real.svg

``--table`` replays ways of searching on a table of trained networks (``qnas study table``), hundreds of times, each on
another hundred of its networks; work is counted in training steps. ``--real`` does everything for real; work is the
processor's time of one process. A curve is the test accuracy, averaged over seeds, of the network that has the best
validation accuracy of all fully trained ones so far; its band is the 95 % bootstrap interval of that average. The last
line is JSON.
"""

import sys
from argparse import Namespace
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib.pyplot as plt
import numpy as np
from common import finish, load, options
from numpy.typing import NDArray
from real_searches import WAYS, really
from replays import Curve, Replay, Stopped

from qnas.nas.limits import Limits
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.runs.files import append_row, read_rows
from qnas.studies.benchmark_table import BenchmarkTable, load_table
from qnas.studies.proxy import learned_of_others
from qnas.training.recipe import Recipe

SCORE_STEPS = 3.0
"""Training steps that one score costs on Fashion-MNIST: 0.16 s beside 0.05 s a step (medians of 24 networks, W4A4)."""
NAMES = {
    "qnas": "qnas: score, calibrate, halve, train from predicted",
    "random": "random search, trained from random",
    "random_predicted": "random search, trained from predicted",
    "halving": "successive halving from random",
    "halving_predicted": "successive halving from predicted",
    "tpe": "TPE on short runs from random",
    "nsga2": "NSGA-II on short runs from random",
}
RUNS = (1, 2, 3, 5, 10, 20)
"""After the work of how many whole runs it is told what ways of searching have, where runs may end early."""
STOPPED = {
    "qnas": "qnas: by learning curves and scores",
    "unscored": "by learning curves alone",
    "scores": "by scores alone",
    "halving": "successive halving by losses",
    "random": "random search",
}


class Found(NamedTuple):
    """The curves of ways of searching, what these are called and searched, and after which work that is told."""

    curves: dict[str, list[Curve]]
    names: dict[str, str]
    title: str
    marks: tuple[int, ...] = ()


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


def report(found: Found, unit: str, figure: Path | None) -> dict[str, Any]:
    """Print and draw what every way has reached, and return it with how much work others need for what qnas has."""
    curves, names, title, marks = found
    most = max(curve[-1][0] for every in curves.values() for curve in every)
    grid = np.geomspace(min(curve[0][0] for every in curves.values() for curve in every), most, 120)
    means = {}
    _, axes = plt.subplots(figsize=(7, 4.2), layout="constrained")
    end = float(np.median([curve[-1][0] for curve in curves["qnas"]]))
    rows: dict[str, Any] = {}
    for name, every in curves.items():
        tops = np.array([incumbents(curve, grid) for curve in every])
        shown = ~np.isnan(tops).any(0)
        means[name] = tops.mean(0)
        low, high = band(tops[:, shown])
        (line,) = axes.plot(grid[shown], means[name][shown], label=names[name])
        axes.fill_between(grid[shown], low, high, color=line.get_color(), alpha=0.2, linewidth=0)
        last = tops[:, -1]
        at_end = last if name == "qnas" else tops[:, int(np.searchsorted(grid, end, side="right")) - 1]
        told = np.array([incumbents(curve, np.array(marks, float)) for curve in every]).mean(0)
        rows[name] = {
            "after": {
                mark: None if np.isnan(top) else round(float(top), 2) for mark, top in zip(marks, told, strict=True)
            },
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
        print(f"{names[name]:55} {rows[name]}")
    axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel("test accuracy of the best so far, %")
    axes.set_title(title)
    axes.legend(fontsize="small", loc="lower right")
    if figure:
        plt.savefig(figure, metadata={"Date": None})
    return {"qnas_work": round(end, 1), "work_until": round(most, 1), "unit": unit, "ways": rows}


def stopped(given: Namespace, table: BenchmarkTable, bits: Bits) -> Found:
    """Ways of searching on a table of runs that may end early."""
    data, space = load(table.settings["data"], table.settings["space"])
    learned = learned_of_others(table, space.task)
    replay = Stopped(table, bits, space, learned, given.start, given.epochs, given.score_steps)
    curves = {name: [replay.curve(name, seed) for seed in range(given.seeds)] for name in replay.ways}
    networks = f"{len(replay.entries)} networks of {data.name}, {bits}"
    title = f"{networks}, {replay.steps} steps from {given.start} parameters"
    return Found(curves, STOPPED, title, tuple(replay.steps * runs for runs in RUNS))


def replayed(given: Namespace, bits: Bits) -> Found:
    """Ways of searching on a table."""
    table, settings = load_table(given.table), SearchSettings(bits)
    if "steps" not in table.settings:
        return stopped(given, table, bits)
    replay = Replay(table, bits, load(settings.data, settings.space)[1])
    ways = ("qnas", "random", "random_predicted", "halving", "halving_predicted")
    curves = {name: [replay.curve(name, seed) for seed in range(given.seeds)] for name in ways}
    return Found(curves, NAMES, f"replayed on a table of {len(replay.entries)} networks, {bits}")


def searched(given: Namespace, bits: Bits) -> Found:
    """Real searches, those in the log not done again."""
    limits, recipe = Limits(params=given.max_params), Recipe(given.steps)
    given.out.mkdir(parents=True, exist_ok=True)
    log = given.out / f"{bits}.jsonl"
    rows = read_rows(log)
    done = {(row["way"], row["seed"]) for row in rows}
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        waiting = []
        for seed in range(given.seeds):
            settings = SearchSettings(bits, limits, trials=given.trials, recipe=recipe, seed=seed)
            left = [name for name in WAYS if (name, seed) not in done]
            waiting += [pool.submit(really, name, settings, given.seconds) for name in left]
        for future in as_completed(waiting):
            rows.append(future.result())
            append_row(log, rows[-1])
            print(f"{len(rows)} of {len(WAYS) * given.seeds} searches", flush=True)
    curves = {name: [row["curve"] for row in rows if row["way"] == name] for name in WAYS}
    return Found(curves, NAMES, f"real searches on the digits, {bits}")


def main() -> None:
    """Run the comparison."""
    given = options(
        __doc__, table=Path, real=(False, "search for real"), bits="w4a4", seeds=200,
        seconds=(60.0, "of the processor, for each real search"), steps=(144, "of a full run in a real search"),
        trials=(100, "networks that qnas scores in a real search"), max_params=50_000, workers=2,
        out=Path("runs/search"), figure=(Path, "file to draw"),
        start=("predicted", "of the runs of a table that tells their losses"), epochs=(1.0, "of these runs"),
        score_steps=(SCORE_STEPS, "training steps that a score costs there"),
    )  # fmt: skip
    plt.rcParams["svg.hashsalt"] = "qnas"
    if given.real == bool(given.table):
        sys.exit("search.py: give either --table PATH or --real")
    bits = Bits.parse(given.bits)
    found = searched(given, bits) if given.real else replayed(given, bits)
    unit = "seconds of one processor core" if given.real else "work, training steps"
    finish(bits=given.bits, real=given.real, **report(found, unit, given.figure))


if __name__ == "__main__":
    main()
