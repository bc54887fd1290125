"""In equal time, and in three times as long: does another way of searching end where ``qnas search`` does?

    python benchmarks/opponents.py --seconds 150 --budgets weight_bytes=65536,macs=3e6 --bits w4a4 --seeds 10

All ways have the same budget and recipe, begin from the same hypernetwork, and divide their time so that it suffices,
by training prices (``qnas.training.price``), in one process each:

qnas     as a search does that is given so many seconds: 48 networks scored, six short runs, one full one
mixed    the same, every layer of widths of its own, of at most as many bits
halving  a bracket of successive halving: nine networks for a twelfth of a full run, three for a quarter, one full run
random   three full runs

A line a search: validation and test accuracy of the best by validation, seconds of the processor, beside which reading
data, hypernetworks and tables does not count. What lies in the file of results is not done again. The last line is
JSON: mean test accuracy of every way, and by how much the first one of its bits is better, seed by seed, with its 95 %
interval; where there are several bit widths, also of those that are best on the validation images.
"""

from argparse import Namespace
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

from common import budget_of, finish, give_or_take, options, settle
from real_searches import Real

from qnas.checkpoints.store import default_checkpoint
from qnas.data.registry import default_space
from qnas.digest import digest_of
from qnas.nas.planning import FULL_SHARE, SCORED, in_equal_time
from qnas.nas.prepare import prepare
from qnas.nas.settings import SearchSettings
from qnas.quant.scheme import Bits
from qnas.runs.files import append_row, read_rows
from qnas.training.recipe import Recipe

Row = dict[str, Any]


class Way(NamedTuple):
    """What a way does, and which share of its time a full run gets."""

    run: Callable[[Real], None]
    share: float


WAYS = {
    "qnas": Way(Real.qnas, FULL_SHARE),
    "mixed": Way(Real.qnas, FULL_SHARE),
    "halving": Way(lambda real: real.halving(1), 1 / (9 / 12 + 3 / 4 + 1)),
    "random": Way(lambda real: real.random(3), 1 / 3),
}


def settings_of(given: Namespace, budget: str, bits: str, way: str, times: float, seed: int) -> SearchSettings:
    """Of a search whose full run takes its share of the time: the steps of a network of a microsecond an image."""
    names = {"data": given.data, "space": default_space(given.data), "ghn": default_checkpoint(given.data)}
    settings = SearchSettings(
        Bits.parse(bits), budget_of(budget), trials=SCORED, seed=seed, minutes=times * given.seconds / 60,
        mixed=way == "mixed", usual_price=1.0, **names,
    )  # fmt: skip
    steps = round(WAYS[way].share * 1e6 * times * given.seconds / Recipe.batch)
    return replace(in_equal_time(settings, workers=1, top=1), recipe=Recipe(steps))


def searched(way: str, settings: SearchSettings) -> Row:
    """What a search ends with."""
    settle()
    real = Real(settings, predicted=True)
    WAYS[way].run(real)
    _, validation, test = max(real.curve, key=lambda one: one[1])
    return {"validation": validation, "test": test, "work": round(real.curve[-1][0], 1)}


def summary(rows: list[Row]) -> list[Row]:
    """Every way's mean, and the first one's lead over it with the seeds that both have."""
    cells: dict[tuple[Any, ...], dict[int, Row]] = {}
    for row in rows:
        cells.setdefault((row["budget"], row["bits"], row["way"], row["times"]), {})[row["seed"]] = row
    found = []
    for (budget, bits, way, times), mine in cells.items():
        first = next(theirs for key, theirs in cells.items() if key[:2] == (budget, bits))
        leads = [first[seed]["test"] - mine[seed]["test"] for seed in mine if seed in first]
        found.append({
            "budget": budget, "bits": bits, "way": way, "times": times, "seeds": len(mine),
            "test": round(fmean(row["test"] for row in mine.values()), 2),
            "work": round(fmean(row["work"] for row in mine.values()), 1),
            "first_is_better_by": round(fmean(leads), 2) if leads else None, "give_or_take": give_or_take(leads),
        })  # fmt: skip
    return found


def best_of_bits(rows: list[Row]) -> list[Row]:
    """The rows of the bit widths that are best on the validation images, of each budget, way, time and seed."""
    best: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        place = (row["budget"], row["way"], row["times"], row["seed"])
        if place not in best or row["validation"] > best[place]["validation"]:
            best[place] = row
    return [{**row, "bits": "best"} for row in best.values()]


def main() -> None:
    """Search in all ways that are not gone yet, and compare."""
    given = options(
        __doc__, data="fashion", bits=["w4a4"], budgets=["weight_bytes=65536,macs=3e6"], seeds=10,
        seconds=(150.0, "that a search gets, by prices"), times=([1.0, 3.0], "as long, for other ways than qnas's"),
        ways=(["qnas", "halving", "random"], "some of: " + ", ".join(WAYS)), workers=2,
        out=Path("benchmarks/results/opponents.jsonl"),
    )  # fmt: skip
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows, wanted = read_rows(given.out), list[Row]()
    usual = settings_of(given, given.budgets[0], given.bits[0], given.ways[0], 1.0, 0)
    hashes = prepare(usual).identity  # of images, space, hypernetwork and tables, which are the same for all
    with ProcessPoolExecutor(given.workers, get_context("spawn")) as pool:
        waiting = {}
        for seed, budget, bits, way in product(range(given.seeds), given.budgets, given.bits, given.ways):
            for times in [1.0] if way in ("qnas", "mixed") else given.times:
                settings = settings_of(given, budget, bits, way, times, seed)
                key = {"budget": budget, "bits": bits, "way": way, "times": times, "seed": seed}
                key["settings"] = digest_of({**hashes, **settings.identity()})
                known = [row for row in rows if key.items() <= row.items()]
                wanted += known or [key]
                if not known:
                    waiting[pool.submit(searched, way, settings)] = key
        for future in as_completed(waiting):
            key = waiting[future]
            key.update(future.result())
            append_row(given.out, key)
            print(*key.values(), flush=True)
    of_best = summary(best_of_bits(wanted)) if len(given.bits) > 1 else []
    finish(data=given.data, seconds=given.seconds, results=summary(wanted), of_best_bits=of_best)


if __name__ == "__main__":
    main()
