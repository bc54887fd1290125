"""Are the distributions of predicted parameters more compact than those of random and of trained ones?

    python benchmarks/distributions.py --data fashion --ghn fashion --networks 20 --trained 4 --steps 200

Weights with their batch norms folded in (predicted and random: by the statistics of 256 training images; trained: by
their averages), layer by layer, of the same networks: predicted, He-normal, and the first of them trained for a few
steps from either. Groups are kinds of layers, and whether the hypernetwork makes a layer by repeating a tile of output
channels. Medians over layers with their quartiles. Trainings that lie in the file are not done again. The last line is
JSON.
"""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, load, networks, options, settle

from qnas.checkpoints.store import load_checkpoint
from qnas.network.arithmetic import FloatArithmetic, folded
from qnas.network.build import build_plan
from qnas.network.forward import Parameters, forward
from qnas.network.initial import he_parameters
from qnas.network.module import has_weights
from qnas.network.plan import Node, Plan
from qnas.quant.distribution import distribution
from qnas.quant.scheme import Bits
from qnas.runs.files import append_row, read_rows
from qnas.studies.layers import SEEN
from qnas.training.qat import train_network
from qnas.training.recipe import Recipe

STARTS = ("predicted", "random")
COLUMNS = ("precision", "mismatch", "kurtosis", "range_over_precision")
KEY = ("network", "start", "steps", "data", "ghn", "recipe")


class Folds(FloatArithmetic):
    """In float; keeps every layer's folded weight."""

    def __init__(self) -> None:
        self.weights: dict[str, torch.Tensor] = {}

    def layer(self, node: Node, x: torch.Tensor, parameters: Parameters) -> torch.Tensor:
        """See ``Arithmetic``."""
        self.weights[node.name] = folded(node, x, parameters)[0]
        return super().layer(node, x, parameters)


def kind_of(node: Node) -> str:
    """What sort of layer it is."""
    if node.kind == "linear":
        return "classifier"
    if node.groups > 1:
        return "depthwise"
    return "dense" if node.kernel > 1 else "pointwise"


def described(plan: Plan, weights: dict[str, torch.Tensor], tile: int) -> Iterator[dict[str, Any]]:
    """A row a layer with weights."""
    for node in plan.nodes:
        if has_weights(node):
            found = distribution(weights[node.name])
            yield {
                "layer": node.name, "kind": kind_of(node), "tiled": node.shape[0] > tile, **asdict(found),
                "range_over_precision": found.range / found.precision if found.precision else 0.0,
            }  # fmt: skip


def medians(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of every column the median and both quartiles over layers."""
    quartiles = {name: np.percentile([row[name] for row in rows], (50, 25, 75)).round(3).tolist() for name in COLUMNS}
    return {"layers": len(rows), **quartiles}


def main() -> None:
    """Predict, draw, train what is not trained yet, and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", ghn="fashion", bits="w4a4", networks=20, steps=200,
        trained=(4, "of the networks, trained from either start"),
        out=Path("benchmarks/results/distributions.jsonl"),
    )  # fmt: skip
    settle()
    data, space = load(given.data, given.space)
    checkpoint, bits = load_checkpoint(given.ghn), Bits.parse(given.bits)
    ghn = checkpoint.ghn
    genotypes = networks(space, given.networks, part="held_out", bits=bits)
    seen, _ = data.train.drawn(SEEN).batch(slice(0, SEEN))
    tile, groups = ghn.config.channels, dict[str, list[dict[str, Any]]]()
    with torch.no_grad():
        for seed, genotype in enumerate(genotypes):
            plan = build_plan(genotype, space.task)
            starts = (ghn([plan])[0], he_parameters(plan, torch.Generator().manual_seed(seed)))
            for start, parameters in zip(STARTS, starts, strict=True):
                folds = Folds()
                forward(plan, parameters, seen, folds)
                groups.setdefault(start, []).extend(described(plan, folds.weights, tile))
    given.out.parent.mkdir(parents=True, exist_ok=True)
    known = {tuple(row.get(name) for name in KEY): row for row in read_rows(given.out)}
    for genotype in genotypes[: given.trained]:
        plan = build_plan(genotype, space.task)
        for start in STARTS:
            key = (genotype.key, start, given.steps, data.name, checkpoint.weights_hash[:8], Recipe().digest)
            if key not in known:
                recipe, predictor = Recipe().of(given.steps), ghn if start == "predicted" else None
                network = train_network(plan, data, recipe, 0, predictor)
                with torch.no_grad():
                    weights = {node.name: network.folded(node)[0] for node in plan.nodes if has_weights(node)}
                known[key] = {**dict(zip(KEY, key, strict=True)), "layers": list(described(plan, weights, tile))}
                append_row(given.out, known[key])
            groups.setdefault(f"trained from {start}", []).extend(known[key]["layers"])
    results = list(compared(groups))
    for row in results:
        told = "  ".join(f"{name} {row[name][0]:.2f} ({row[name][1]:.2f} to {row[name][2]:.2f})" for name in COLUMNS)
        print(f"{row['group']:12} {row['start']:22} {row['layers']:4} layers  {told}")
    finish(
        data=given.data, bits=given.bits, n=len(genotypes), trained=given.trained, steps=given.steps, results=results
    )


def compared(groups: dict[str, list[dict[str, Any]]]) -> Iterator[dict[str, Any]]:
    """A row a group of layers and start."""
    kinds = {kind: ("kind", kind) for kind in ("dense", "pointwise", "depthwise", "classifier")}
    for group, (name, value) in {**kinds, "tiled": ("tiled", True), "not tiled": ("tiled", False)}.items():
        for start, rows in groups.items():
            some = [row for row in rows if row[name] == value]
            if some:
                yield {"group": group, "start": start, **medians(some)}


if __name__ == "__main__":
    main()
