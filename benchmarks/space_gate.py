"""Is there something to search for in a space? Random networks under a budget, trained shortly with two seeds each.

    python benchmarks/space_gate.py --space fashion --data fashion --out runs/gate.jsonl

A space is worth a search where random networks of one budget differ by much more than two runs of one network do.
Prints a line a network; what lies in the file is not done again. The last line is JSON: the span of the networks'
mean validation accuracies from the 5th to the 95th percentile, in points, and Kendall's tau between the two seeds.
"""

import time
from itertools import islice
from pathlib import Path
from statistics import fmean

import numpy as np
from common import finish, load, options, random_networks, settle

import qnas
from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.runs.files import append_row, read_rows
from qnas.scores.ranks import kendall
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe


def main() -> None:
    """Train and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", bits="w4a4", networks=60, seeds=2, steps=250,
        max_weight_bytes=(65_536, "budget of every network"), max_macs=(3_000_000, "budget of every network"),
        out=Path("runs/space_gate.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    rows = {(row["key"], row["seed"]): row for row in read_rows(given.out)}
    limits, bits = Limits(weight_bytes=given.max_weight_bytes, macs=given.max_macs), qnas.Bits.parse(given.bits)
    networks = list(islice(random_networks(space, limits, bits, 0), given.networks))
    for genotype in networks:
        for seed in range(given.seeds):
            if (genotype.key, seed) not in rows:
                started = time.process_time()
                network = train_network(genotype, data, Recipe(given.steps), seed)
                cost = costs(build_plan(genotype, space.task))
                row = {
                    "key": genotype.key, "seed": seed, "top1": deployed_accuracy(network, data.validation).top1,
                    "seconds": time.process_time() - started, "macs": cost.macs, "weight_bytes": cost.weight_bytes,
                    "batch_norm": genotype.batch_norm, "genotype": genotype.to_json(),
                }  # fmt: skip
                rows[genotype.key, seed] = row
                append_row(given.out, row)
        found = [rows[genotype.key, seed]["top1"] for seed in range(given.seeds)]
        print(genotype.key, *(f"{top1:.2f}" for top1 in found), flush=True)
    table = np.array([[rows[one.key, seed]["top1"] for seed in range(given.seeds)] for one in networks])
    low, high = np.percentile(table.mean(1), (5, 95))
    seconds = fmean(row["seconds"] for row in rows.values())
    finish(
        space=given.space, data=given.data, bits=given.bits, steps=given.steps, networks=len(networks),
        p5=low, p95=high, span=high - low, tau=kendall(table[:, 0], table[:, 1]), seconds_a_run=seconds,
    )  # fmt: skip


if __name__ == "__main__":
    main()
