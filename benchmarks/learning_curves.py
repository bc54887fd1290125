"""What networks of a space reach in a given time: random networks, each trained for a random time.

    python benchmarks/learning_curves.py --networks 200 --out benchmarks/results/curves-fashion.jsonl \
        --table checkpoints/fashion/curves.jsonl.gz

Searches that are given minutes choose by such a table (``qnas.scores.outlook``). The logarithms of times are uniform,
and times become steps by the training price (``qnas.training.price``), so the machine does not matter. Bits and budgets
are drawn for every network. With ``--drawn``, networks are the best of several by what the rows so far let expect: so
the table knows those well that a search looks at. With ``--genotypes``, the networks of a file are trained instead, at
their own bits. With ``--runs``, nothing is trained: the rows are what finished searches have trained. With ``--part
2/8``, only every eighth network from the third on, so that several processes share the work, each with an ``--out`` of
its own. Prints a line a network; what lies in the file is not done again. With ``--table``, all networks are scored by
the hypernetwork beside which the table is to lie, and rows and scores are gathered there. The last line is JSON: how
well an outlook does on networks that it was not fitted to, upon the embedded images' table where the images are others.
"""

import gzip
import json
import random
import time
from collections.abc import Iterator
from itertools import islice
from math import inf
from pathlib import Path
from typing import Any

import numpy as np
from common import budget_of, finish, load, options, random_networks, settle, steps_in
from sklearn.model_selection import GroupKFold

import qnas
from qnas.devices import pick_device
from qnas.nas.result import RESULT
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.resources import shipped
from qnas.runs.files import append_row, read_rows, write_bytes
from qnas.runs.folder import read_run
from qnas.runs.reading import read_json
from qnas.scores.outlook import USUAL, Outlook, arrays, find_curves, read_outlook, rows_of, upon, worth
from qnas.scores.race import Racer
from qnas.scores.ranks import kendall
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.task import Task
from qnas.training.jobs import predictor_of
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe

FEWEST = 12
"""Rows without which nothing can be expected."""
FOLDS, BITS = 10, qnas.Bits(4, 4)
"""Of the cross-validation; and of the networks that say in which order a race shows its images."""


def plan_of(row: dict[str, Any], task: Task) -> Plan:
    """The plan of a row's network."""
    return build_plan(Genotype.from_json(row["genotype"]), task)


def scorer(given: Any, data: Any, space: SearchSpace) -> Racer:
    """What scores all networks of a table."""
    return Racer(space, BITS, data, predictor_of(given.ghn or given.data, given.data, given.device), given.seed)


def most_promising(
    drawn: list[Genotype], seconds: float, rows: list[dict[str, Any]], task: Task, base: Outlook | None, distinct: int
) -> Genotype:
    """The network that is hoped to reach the most in so many seconds; the first, as long as there are few rows."""
    if len(drawn) == 1 or len(rows) < FEWEST:
        return drawn[0]
    plans = [build_plan(one, task) for one in drawn]
    images = [worth(Recipe.batch * steps_in(seconds, plan), distinct) for plan in plans]
    hoped = upon(base, arrays(valued(rows, distinct), task)).hoped(rows_of(plans, images))
    return drawn[int(np.argmax(hoped))]


def valued(rows: list[dict[str, Any]], distinct: int) -> list[dict[str, Any]]:
    """Rows that tell what their images are worth, where there are so many to train on."""
    return [{**row, "worth": round(worth(row["images"], distinct), 1)} for row in rows]


def rows_of_run(folder: Path, task: Task) -> Iterator[dict[str, Any]]:
    """What a finished search has trained, as rows."""
    from qnas.training.jobs import LEDGER, JobName  # which needs Optuna, as training does not

    result = read_json(folder / RESULT, "a search's result", "name the folder of a finished search")
    genotypes = {one["key"]: one["genotype"] for one in [*result["picks"], *result["candidates"]]}
    batch = read_run(folder)["settings"]["recipe"]["batch"]
    for done in read_rows(folder / LEDGER):
        job = JobName.of(done["job"])
        cost = costs(build_plan(Genotype.from_json(genotypes[job.key]), task))
        yield {
            "key": job.key, "images": job.steps * batch, "top1": done["top1"], "seconds": done["seconds"],
            "params": cost.params, "macs": cost.macs, "recipe": job.recipe, "genotype": genotypes[job.key],
        }  # fmt: skip


def main() -> None:
    """Train what is not there yet, and write the table."""
    given = options(
        __doc__, data="fashion", space="fashion", bits=["w4a4", "w4a4", "w2a2"], budgets=[""], networks=200,
        seed=(0, "of the draws"), drawn=(1, "networks of which the most promising is trained"),
        shortest=(8.0, "seconds of a run, on the machine that prices are for"), longest=(80.0, "likewise"),
        genotypes=(Path, "JSON lines: networks that are trained instead of random ones"),
        part=("0/1", "which of how many processes this is"), device="cpu",
        out=Path("runs/curves.jsonl"), more=([""], "files of further rows"),
        runs=([""], "folders of finished searches, whose trained networks become the rows"),
        table=(Path, "file that gathers all rows"), ghn=("", "whose scores it gets, if not of the data's own"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    data, (first, every) = data.to(pick_device(given.device)), map(int, given.part.split("/"))
    racer = scorer(given, data, space) if given.table else None
    usual, _ = find_curves(shipped("checkpoints") / USUAL, USUAL)
    base = None if given.data == USUAL else read_outlook(usual, space.task)
    rows, more = read_rows(given.out), [row for name in filter(None, given.more) for row in read_rows(Path(name))]
    folders = [Path(name) for name in given.runs if name]
    for row in (row for folder in folders for row in rows_of_run(folder, space.task)):
        if row not in rows:
            rows.append(row)
            append_row(given.out, row)
    named = [Genotype.from_json(one) for one in read_rows(given.genotypes)] if given.genotypes else []
    count = 0 if folders else len(named) or given.networks
    for number in range(first, count, every)[len(rows) :]:
        rng = random.Random(f"{given.seed}/{number}")
        bits, limits = qnas.Bits.parse(rng.choice(given.bits)), budget_of(rng.choice(given.budgets))
        drawn = named[number : number + 1]
        drawn = drawn or list(islice(random_networks(space, limits, bits, rng.getrandbits(32)), given.drawn))
        seconds = given.shortest * (given.longest / given.shortest) ** rng.random()
        genotype = most_promising(drawn, seconds, [*rows, *more], space.task, base, len(data.train))
        started = time.process_time()
        plan = build_plan(genotype, space.task)
        steps, cost = steps_in(seconds, plan), costs(plan)
        network = train_network(genotype, data, Recipe(steps), given.seed)
        top1 = deployed_accuracy(network, data.validation).top1
        row = {
            "key": genotype.key, "images": steps * Recipe.batch, "top1": top1,
            "seconds": round(time.process_time() - started, 2), "params": cost.params, "macs": cost.macs,
            "recipe": Recipe(steps).digest, "genotype": genotype.to_json(),
        }  # fmt: skip
        rows.append(row)
        append_row(given.out, row)
        print(genotype.key, *(f"{row[name]:.1f}" for name in ("images", "top1", "seconds")), flush=True)
    known = valued([*rows, *more], len(data.train))
    if racer:
        plans = {row["key"]: plan_of(row, space.task) for row in known}
        scores = {key: round(racer(plan, inf).score.top1, 2) for key, plan in plans.items()}
        known = [{**row, "score": scores[row["key"]]} for row in known]
        short = [{key: row[key] for key in ("genotype", "worth", "top1", "score")} for row in known]
        lines = "".join(json.dumps(row) + "\n" for row in short)
        write_bytes(given.table, gzip.compress(lines.encode(), mtime=0))
    (x, y), expected, keys = arrays(known, space.task), np.zeros(len(known)), [row["key"] for row in known]
    folds = GroupKFold(min(FOLDS, len(set(keys))), shuffle=True, random_state=0)
    for others, mine in folds.split(x, groups=keys):
        expected[mine] = upon(base, (x[others], y[others])).expected(x[mine])
    finish(
        data=given.data, space=given.space, networks=len(known), tau=kendall(expected, y),
        mean_absolute_error=float(np.abs(expected - y).mean()),
    )  # fmt: skip


if __name__ == "__main__":
    main()
