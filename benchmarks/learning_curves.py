"""What networks of a space reach in a given time: random networks, each trained for random times.

    python benchmarks/learning_curves.py --space fashion --data fashion --networks 300 --out runs/curves.jsonl

Times are between the shortest and the longest, their logarithms uniform, and become steps by the training price
(``qnas.training.price``), so the machine does not matter. Prints a line a network; what lies in the file is not done
again. The last line is JSON: how well the logarithm of the error follows the logarithms of passes and parameters.
"""

import random
import time
from itertools import islice, product
from math import log
from pathlib import Path

import numpy as np
from common import finish, load, options, settle

import qnas
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.runs.files import append_row, read_rows
from qnas.sampling.generator import stream
from qnas.training.price import price
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe


def main() -> None:
    """Train what is not there yet."""
    given = options(
        __doc__, data="fashion", space="fashion", bits=["w4a4", "w4a4", "w2a2"], networks=300, seeds=1,
        shortest=(10.0, "seconds of a run, on the machine that prices are for"), longest=(160.0, "likewise"),
        out=Path("runs/learning_curves.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    rows = {(row["key"], row["seed"]): row for row in read_rows(given.out)}
    networks = [
        one.with_bits(qnas.Bits.parse(given.bits[number % len(given.bits)]))
        for number, one in enumerate(islice(stream(space, 0), given.networks))
    ]
    for seed, genotype in product(range(given.seeds), networks):
        if (genotype.key, seed) in rows:
            continue
        rng, plan = random.Random(f"{seed}/{genotype.key}"), build_plan(genotype, space.task)
        seconds = given.shortest * (given.longest / given.shortest) ** rng.random()
        paid, cost = price(plan, Recipe.batch), costs(plan)
        steps, started = max(1, round(seconds * 1e6 / (paid * Recipe.batch))), time.process_time()
        network = train_network(genotype, data, Recipe(steps), seed)
        row = {
            "key": genotype.key, "seed": seed, "top1": deployed_accuracy(network, data.validation).top1, "steps": steps,
            "passes": steps * Recipe.batch / len(data.train), "price": paid, "seconds": time.process_time() - started,
            "params": cost.params, "macs": cost.macs, "activation_bytes": cost.activation_bytes,
            "recipe": Recipe().digest, "genotype": genotype.to_json(),
        }  # fmt: skip
        rows[genotype.key, seed] = row
        append_row(given.out, row)
        print(genotype.key, seed, *(f"{row[name]:.2f}" for name in ("top1", "passes", "seconds")), flush=True)
    known = list(rows.values())
    inputs = np.array([[1.0, log(row["passes"]), log(row["params"])] for row in known])
    errors = np.array([log(100 - row["top1"]) for row in known])
    weights, *_ = np.linalg.lstsq(inputs, errors, rcond=None)
    explained = 1 - np.var(errors - inputs @ weights) / np.var(errors)
    finish(data=given.data, space=given.space, networks=len(known), explained=explained, weights=list(weights))


if __name__ == "__main__":
    main()
