"""What each ingredient of the recipe is worth: short W4A4 and W2A2 runs, one ingredient changed at a time.

    python benchmarks/ingredients.py --epochs 2 --out benchmarks/results/ingredients.jsonl

Four small networks of different kinds, whose passes take half a minute at most, from He parameters, so that no
hypernetwork decides. The rest of the recipe is held fixed. Prints a line a variant; what lies in the file is not done
again, so that the script can be stopped any time, and more seeds added. The last line is JSON: validation accuracy
against the usual recipe's, paired by network and seed, in points, with its standard error, and the seconds of a run
against the usual recipe's.
"""

import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median, stdev
from typing import Any

from common import finish, load, options, settle

import qnas
from qnas.runs.files import append_row, read_rows
from qnas.runs.reading import read_json
from qnas.space.genotype import Genotype
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe

RECIPE = Recipe(precision="float32")
"""What all begin from, the same on every processor."""
USUAL, EDGES = "usual", "first and last layer of 8 bits"
KEY = ("variant", "network", "seed", "epochs", "recipe")
"""What tells one run from all others; rows of another recipe do not count."""
VARIANTS: dict[str, dict[str, Any]] = {
    USUAL: {},
    "rate 3e-3": {"rate": 3e-3},
    "rate 2e-2": {"rate": 2e-2},
    "adamw": {"optimizer": "adamw"},
    "muon": {"optimizer": "muon"},
    "sgd 0.1": {"optimizer": "sgd", "rate": 0.1},
    "linear decay": {"schedule": "linear"},
    "batch 32": {"batch": 32},
    "batch 128": {"batch": 128},
    "no weight decay": {"weight_decay": 0.0},
    "weight decay 0.15": {"weight_decay": 0.15},
    "no smoothing": {"smoothing": 0.0},
    "weight decay 1e-4, no smoothing": {"weight_decay": 1e-4, "smoothing": 0.0},
    "shifts": {"shift_from": 0.0},
    "no mirror": {"mirror": False},
    "rate 2e-2, no mirror": {"rate": 2e-2, "mirror": False},
    "erasing 0.25": {"erase": 0.25},
    "grid per-tensor": {"grid": "per-tensor"},
    "grid asymmetric": {"grid": "asymmetric"},
    "grid power-of-two": {"grid": "power-of-two"},
    "weight steps fitted": {"learned_weights": False},
    "bits go down": {"descent": 0.3},
    "damping 1e-3": {"damping": 1e-3},
    "never frozen": {"frozen_share": 0.0},
    "frozen 0.1": {"frozen_share": 0.1},
    "frozen 0.4": {"frozen_share": 0.4},
    "averages 0.998": {"averaging": 0.998},
    "reestimated": {"frozen_share": 0.0, "reestimation": 50},
    "distilled 0.5": {"distillation": 0.5},
    "bfloat16": {"precision": "bfloat16"},
    EDGES: {},
}


def alike(channels: int, cells: int, *branches: tuple[int, str, int]) -> Genotype:
    """A network whose cells all have one step, after a stem of stride 2."""
    step = [list(branch) for branch in branches]
    shape = {"stem": [3, 2], "channels": channels, "cells": cells, "batch_norm": True, "projected": False}
    return Genotype.from_json({**shape, "normal": [step], "reduction": [step], "bits": "w4a4"})


NETWORKS = [
    alike(10, 4, (1, "conv", 3)),
    alike(12, 3, (1, "conv", 3), (1, "max_pool", 3)),
    alike(16, 3, (1, "sep_conv", 3)),
    alike(8, 3, (1, "mb_conv3", 3)),
]
"""Convolutions, the same beside pools, separable convolutions, inverted bottlenecks: 3 to 13 KB at 4 bits."""


def main() -> None:
    """Train what is not trained yet, and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", bits=["w4a4", "w2a2"], seeds=3,
        epochs=(2.0, "passes over the training images"), out=Path("benchmarks/results/ingredients.jsonl"),
        variants=([""], "some of them only"), genotypes=([""], "files of networks, instead of the usual four"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, _ = load(given.data, given.space)
    files = [read_json(Path(path), "a genotype", "") for path in given.genotypes if path]
    chosen = [name for name in VARIANTS if given.variants == [""] or name in given.variants]
    rows = {tuple(row[name] for name in KEY): row for row in read_rows(given.out)}
    networks = [Genotype.from_json(one) for one in files] or NETWORKS
    for seed in range(given.seeds):
        for network in (one.with_bits(qnas.Bits.parse(bits)) for one in networks for bits in given.bits):
            for name in chosen:
                recipe = replace(RECIPE, **VARIANTS[name])
                recipe = recipe.of(round(given.epochs * len(data.train) / recipe.batch))
                key = (name, network.key, seed, given.epochs, recipe.digest)
                if key in rows:
                    continue
                started = time.process_time()
                trained = train_network(network.with_edges(8) if name == EDGES else network, data, recipe, seed)
                row = dict(zip(KEY, key, strict=True))
                row["top1"] = deployed_accuracy(trained, data.validation).top1
                row["seconds"] = round(time.process_time() - started, 1)
                rows[key] = row
                append_row(given.out, row)
                print(*row.values(), flush=True)
    finish(data=given.data, epochs=given.epochs, results=[
        compared(rows, name, bits, given.epochs) for bits in given.bits for name in chosen
    ])  # fmt: skip


def compared(rows: dict[Any, Any], name: str, bits: str, epochs: float) -> dict[str, Any]:
    """A variant against the usual recipe on the networks and seeds that both have."""
    pairs = [
        (row, usual)
        for row in rows.values()
        if row["variant"] == name and row["epochs"] == epochs and row["network"].endswith(bits)
        if row["recipe"] == replace(RECIPE, **VARIANTS[name]).digest
        if (usual := rows.get((USUAL, row["network"], row["seed"], epochs, RECIPE.digest)))
    ]
    gains = [row["top1"] - usual["top1"] for row, usual in pairs]
    facts: dict[str, Any] = {"variant": name, "bits": bits, "n": len(gains)}
    if gains:
        facts |= {"top1": fmean(row["top1"] for row, _ in pairs), "gain": fmean(gains)}
        facts |= {"seconds_ratio": median(row["seconds"] / usual["seconds"] for row, usual in pairs)}
    if len(gains) > 1:
        facts["standard_error"] = stdev(gains) / len(gains) ** 0.5
    return facts


if __name__ == "__main__":
    main()
