"""Is there something to search for in a space? Random networks under a budget, trained for a short, equal time.

    python benchmarks/space_gate.py --space fashion --data fashion --out runs/gate.jsonl

A space is worth a search where random networks of one budget differ by much more than two runs of one network do. As
in a search that is given minutes, each network gets the steps that its training price (``qnas.training.price``) allows.
Prints a line a network; what lies in the file is not done again. The last line is JSON: the span of the networks'
mean validation accuracies from the 5th to the 95th percentile, in points, and Kendall's tau between the two seeds.
"""

import time
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
from common import finish, load, options, random_networks, settle, steps_in

import qnas
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.runs.files import append_row, read_rows
from qnas.scores.ranks import kendall
from qnas.training.price import price
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe


def main() -> None:
    """Train and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", bits="w4a4", networks=60, seeds=2,
        seconds=(30.0, "of a run, on the machine that prices are for"),
        max_weight_bytes=(65_536, "budget of every network"), max_macs=(3_000_000, "budget of every network"),
        out=Path("runs/space_gate.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    rows = {(row["key"], row["seed"]): row for row in read_rows(given.out)}
    limits, bits = Limits(weight_bytes=given.max_weight_bytes, macs=given.max_macs), qnas.Bits.parse(given.bits)
    networks = list(islice(random_networks(space, limits, bits, 0), given.networks))
    for seed in range(given.seeds):
        for genotype in networks:
            if (genotype.key, seed) not in rows:
                started, plan = time.process_time(), build_plan(genotype, space.task)
                cost, paid = costs(plan), price(plan, Recipe.batch)
                steps = steps_in(given.seconds, plan)
                network = train_network(genotype, data, Recipe(steps), seed)
                row = {
                    "key": genotype.key, "seed": seed, "top1": deployed_accuracy(network, data.validation).top1,
                    "steps": steps, "price": paid, "seconds": time.process_time() - started, "macs": cost.macs,
                    "weight_bytes": cost.weight_bytes, "genotype": genotype.to_json(),
                }  # fmt: skip
                rows[genotype.key, seed] = row
                append_row(given.out, row)
                print(genotype.key, seed, f"{row['top1']:.2f}", flush=True)
    table = np.array([[rows[one.key, seed]["top1"] for seed in range(given.seeds)] for one in networks])
    low, high = np.percentile(table.mean(1), (5, 95))
    spent = fmean(row["seconds"] for row in rows.values())
    finish(
        space=given.space, data=given.data, bits=given.bits, seconds=given.seconds, networks=len(networks),
        p5=low, p95=high, span=high - low, tau=kendall(table[:, 0], table[:, 1]), seconds_a_run=spent,
    )  # fmt: skip


if __name__ == "__main__":
    main()
