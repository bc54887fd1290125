"""The question: in the time that is given, is a search's network better than what people would have trained instead?

    python benchmarks/time_matched.py --minutes 20 --budgets weight_bytes=32768 --bits w4a4 --seeds 3

Every way has the same budget, the same bits, the same recipe and the same time on two cores:

qnas      ``qnas search``, all included; its full run computes on both cores
hand_made ResNet-8 and DS-CNN, as wide as the budget allows, each on a core of its own for all of the time
random    two networks of the space drawn within the budget, likewise
halving   successive halving from random parameters: twelve short runs for a third of the time, then the two best

A line a network: validation and test accuracy, costs and seconds. What lies in the file of results is not done again.
The last line is JSON: for every way its best network by validation, as a user would choose, with its test accuracy and
that accuracy's standard errors, over the test images and over seeds. From one hypernetwork, or at mixed widths:
``opponents.py``.
"""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from common import budget_of, finish, load, options, random_networks, settle

import qnas
from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.nas.limits import Limits
from qnas.network.build import Architecture, build_plan
from qnas.network.costs import costs
from qnas.network.handmade import HandMade
from qnas.runs.files import append_row, read_rows
from qnas.space.genotype import Genotype
from qnas.training.jobs import data_of
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe
from qnas.training.run import seconds_a_step

CORES = 2
WIDEST = 128
"""Channels beyond which no hand-made network is tried."""
SHORT_RUNS, SHORT_SHARE = 12, 1 / 3
"""Of successive halving: how many networks it begins with, and the share of its time that they get together."""
Row = dict[str, Any]


def widest(name: str, limits: Limits, bits: qnas.Bits, task: Any) -> HandMade:
    """The hand-made network of the most channels, an even number, within the budget."""
    made = (HandMade(name, width, bits) for width in range(WIDEST, 0, -2))
    return next(one for one in made if limits.excess(costs(build_plan(one, task))) <= 0)


def trained(job: tuple[Architecture, float, dict[str, Any]]) -> Row:
    """Train a network for so many minutes on one core."""
    architecture, minutes, more = job
    started = time.perf_counter()
    network = architecture if isinstance(architecture, HandMade) else architecture.to_json()
    winner = qnas.train(network, architecture.bits, minutes=minutes, **more)
    return facts(winner) | {"seconds": round(time.perf_counter() - started)}


def tried(job: tuple[Genotype, float, str, int]) -> float:
    """Validation accuracy of a network after so many seconds of training."""
    genotype, seconds, name, seed = job
    settle()
    data = data_of(name, "cpu")
    plan = build_plan(genotype, data.task)
    steps = max(1, round(seconds / seconds_a_step(plan, data, Recipe(), None)))
    return deployed_accuracy(train_network(plan, data, Recipe().of(steps), seed), data.validation).top1


def facts(winner: qnas.Winner) -> Row:
    """What a row says of a trained network."""
    name = getattr(winner.genotype, "name", winner.genotype.key)
    lengths = winner.accuracies["trained"]
    measured = {"trained": lengths[max(lengths, key=int)], "test": winner.accuracies["test"]}
    spent = {key: getattr(winner.costs, key) for key in ("weight_bytes", "macs", "activation_bytes")}
    return {"network": f"{name}", **measured, **spent}


class Ways:
    """All ways at one budget, bit width and seed.

    Args:
        given: options of the script.
        budget: as text.
        bits: of all networks.
        seed: of everything random.
    """

    def __init__(self, given: Any, budget: str, bits: str, seed: int) -> None:
        self.given, self.budget, self.bits, self.seed = given, budget, qnas.Bits.parse(bits), seed
        self.limits = budget_of(budget)
        self.data, self.space = load(given.data, given.space)
        self.folder = given.out.parent / "runs" / f"{given.data}-{given.space}-{given.minutes:g}-{bits}-{budget}-{seed}"

    def networks(self) -> Iterator[Genotype]:
        """Different random networks within the budget."""
        return random_networks(self.space, self.limits, self.bits, self.seed)

    def side_by_side(self, networks: Sequence[Architecture], minutes: float, name: str) -> list[Row]:
        """Train networks from random parameters, each on a core of its own."""
        more = {"data": self.given.data, "seed": self.seed, "ghn": None, "device": "cpu"}
        jobs = [(one, minutes, {**more, "out": str(self.folder / f"{name}-{one.key}")}) for one in networks]
        with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
            return list(pool.map(trained, jobs))

    def qnas(self) -> list[Row]:
        """The search."""
        started = time.perf_counter()
        run = qnas.search(
            self.bits, data=self.given.data, space=self.given.space, minutes=self.given.minutes, workers=CORES,
            seed=self.seed, out=self.folder / "qnas", device="cpu",
            **{f"max_{name}": value for name, value in vars(self.limits).items() if value and name != "latency"},
        )  # fmt: skip
        return [facts(run.winner) | {"seconds": round(time.perf_counter() - started)}]

    def hand_made(self) -> list[Row]:
        """What people made."""
        made = [widest(name, self.limits, self.bits, self.data.task) for name in ("resnet8", "ds_cnn")]
        return self.side_by_side(made, self.given.minutes, "made")

    def random(self) -> list[Row]:
        """As many random networks as there are cores."""
        return self.side_by_side(list(islice(self.networks(), CORES)), self.given.minutes, "random")

    def halving(self) -> list[Row]:
        """Short runs of equal time, and the rest of the time for the best."""
        started, first = time.perf_counter(), list(islice(self.networks(), SHORT_RUNS))
        short = SHORT_SHARE * 60 * self.given.minutes * CORES / SHORT_RUNS
        with ProcessPoolExecutor(CORES, get_context("spawn")) as pool:
            found = list(pool.map(tried, [(one, short, self.given.data, self.seed) for one in first]))
        best = [first[place] for place in sorted(range(len(first)), key=lambda place: -found[place])[:CORES]]
        spent = time.perf_counter() - started
        left = max(self.given.minutes - spent / 60, SHORT_SHARE * self.given.minutes)  # where minutes are few
        rows = self.side_by_side(best, left, "long")
        return [{**row, "seconds": round(spent) + row["seconds"]} for row in rows]


WAYS: dict[str, Callable[[Ways], list[Row]]] = {
    "qnas": Ways.qnas, "hand_made": Ways.hand_made, "random": Ways.random, "halving": Ways.halving
}  # fmt: skip


def summary(rows: list[Row], tests: int) -> list[Row]:
    """For every cell and way: the networks that its users would choose, on the test images."""
    found = []
    for cell in sorted({(row["minutes"], row["budget"], row["bits"], row["way"]) for row in rows}):
        mine = [row for row in rows if cell == (row["minutes"], row["budget"], row["bits"], row["way"])]
        seeds = sorted({row["seed"] for row in mine})
        best = [max((row for row in mine if row["seed"] == seed), key=lambda row: row["trained"]) for seed in seeds]
        test = fmean(row["test"] for row in best)
        error = 100 * math.sqrt(test / 100 * (1 - test / 100) / tests)  # the same images for every seed
        over_seeds = stdev(row["test"] for row in best) / math.sqrt(len(seeds)) if len(seeds) > 1 else None
        found.append(dict(zip(("minutes", "budget", "bits", "way"), cell, strict=True)) | {
            "test": test, "standard_error": error, "over_seeds": over_seeds, "seeds": len(seeds),
            "seconds": fmean(row["seconds"] for row in best),
        })  # fmt: skip
    return found


def main() -> None:
    """Go all ways that are not gone yet, and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", minutes=(20.0, "time of every way"), bits=["w4a4"], seeds=1,
        budgets=["weight_bytes=32768"],
        ways=(list(WAYS), "some of them only"), out=Path("benchmarks/results/time_matched.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows = list(read_rows(given.out))
    ghn = load_checkpoint(default_checkpoint(given.data)).weights_hash[:8]
    for seed in range(given.seeds):
        for budget in given.budgets:
            for bits in given.bits:
                for way in given.ways:
                    key = {"data": given.data, "space": given.space, "way": way, "budget": budget, "bits": bits}
                    key |= {"minutes": given.minutes, "seed": seed, "recipe": Recipe().digest, "ghn": ghn}
                    if any(key.items() <= row.items() for row in rows):
                        continue
                    for row in WAYS[way](Ways(given, budget, bits, seed)):
                        rows.append({**key, **row})
                        append_row(given.out, rows[-1])
                        print(*rows[-1].values(), flush=True)
    this = {"data": given.data, "space": given.space, "recipe": Recipe().digest, "ghn": ghn}
    mine = [row for row in rows if this.items() <= row.items()]
    finish(data=given.data, results=summary(mine, len(load(given.data, given.space)[0].test)))


if __name__ == "__main__":
    main()
