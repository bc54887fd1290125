"""Where should quantization-aware training begin? Accuracy after runs of several lengths from four starts.

    python benchmarks/starts.py --networks 16 --seeds 3 --bits w8a8 w4a4 w2a2 --epochs 0.25 0.5 1
    python benchmarks/starts.py --networks 16 --seeds 1 --bits w4a4 w2a2 --epochs 8

Networks that no hypernetwork was trained on, within a budget, each trained by the usual recipe, which was chosen for He
parameters (docs/training.md); every length is a whole run, whose rate ends at zero:

he         random parameters (He et al., 2015)
glorot     random parameters, Glorot uniform (Glorot and Bengio, 2010)
predicted  a hypernetwork's; its own training is told beside it, once for all networks
float      of the network trained in float from He parameters for as many steps, which are told beside it; on other
           images of the same order than those that follow

Predicted weights get the size of random ones and a little noise, as in a search; glorot and float begin as they are.
A line a run. What lies in the file of results is not done again; processes that are each given a ``--part`` of the
networks share one. The last line is JSON, for every width and start: final accuracies and by how much they
are above He's, network by network, with the 95 % interval; and the share of networks that have He's accuracy after the
longest of the runs after a quarter of its steps.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice, product
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from common import budget_of, finish, give_or_take, load, options, settle

from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.data.images import DataSet
from qnas.nas.budgets import fitting
from qnas.network.build import build_plan
from qnas.network.initial import Predictor
from qnas.network.initializers import drawn_parameters, find_initializer
from qnas.quant.scheme import FP32, Bits
from qnas.runs.files import append_row, read_rows
from qnas.sampling.generator import stream
from qnas.scores.closed_form import predictor_for
from qnas.space.genotype import Genotype
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe
from qnas.training.start import Kept

STARTS = ("he", "glorot", "predicted", "float")
AS_THEY_ARE = ("glorot", "float")
FLOAT_SEEDS = 1000
"""Of the float runs, so that their images come in another order than those of the runs that follow."""
Row = dict[str, Any]


def start_of(name: str, genotype: Genotype, data: DataSet, recipe: Recipe, seed: int, ghn: Predictor) -> Any:
    """What gives a run its initial parameters; nothing for He's."""
    if name == "float":
        return Kept(dict(train_network(genotype.with_bits(FP32), data, recipe, FLOAT_SEEDS + seed).slots))
    if name == "glorot":
        rng, plan = torch.Generator().manual_seed(seed), build_plan(genotype, data.task)
        return Kept(drawn_parameters(plan, find_initializer("glorot_uniform"), rng))
    return {"he": None, "predicted": ghn}[name]


def trained(name: str, genotype: Genotype, data: DataSet, recipe: Recipe, seed: int, ghn: Predictor) -> Row:
    """Accuracies after a run, and its seconds, those of a float run before it apart."""
    started = time.process_time()
    start = start_of(name, genotype, data, recipe, seed, ghn)
    begun = time.process_time()
    network = train_network(genotype, data, recipe, seed, start)
    ended = time.process_time()
    found = {part: deployed_accuracy(network, getattr(data, part)).top1 for part in ("validation", "test")}
    return {**found, "seconds": round(ended - begun, 1), "before": round(begun - started, 1)}


def gains(rows: list[Row], bits: str, start: str, steps: int, of_he: int) -> dict[str, list[tuple[float, float]]]:
    """By network: test accuracy of a start after some steps, and He's after so many, of every seed that both have."""
    tests = {(row["bits"], row["start"], row["key"], row["steps"], row["seed"]): row["test"] for row in rows}
    found: dict[str, list[tuple[float, float]]] = {}
    for (width, name, key, length, seed), mine in tests.items():
        he = tests.get((bits, "he", key, of_he, seed))
        if (width, name, length) == (bits, start, steps) and he is not None:
            found.setdefault(key, []).append((mine, he))
    return found


def summary(rows: list[Row]) -> list[Row]:
    """Every width, start and length beside He's."""
    found, lengths = list[Row](), sorted({row["steps"] for row in rows})
    for bits, start, steps in product(dict.fromkeys(row["bits"] for row in rows), STARTS, lengths):
        pairs = gains(rows, bits, start, steps, steps)
        if not pairs:
            continue
        above = [fmean(mine - he for mine, he in seeds) for seeds in pairs.values()]
        sooner = [gains(rows, bits, start, quarter, steps) for quarter in lengths if abs(4 * quarter - steps) <= 4]
        reached = [fmean(mine - he for mine, he in seeds) >= 0 for known in sooner for seeds in known.values()]
        found.append({
            "bits": bits, "start": start, "steps": steps, "networks": len(above),
            "test": round(fmean(mine for seeds in pairs.values() for mine, _ in seeds), 2),
            "above_he": round(fmean(above), 2), "give_or_take": give_or_take(above),
            "in_a_quarter": round(fmean(reached), 2) if reached else None,
        })  # fmt: skip
    return found


def due(given: Any, genotypes: list[Genotype], epoch: int, part: str) -> Iterator[tuple[Row, Genotype, Recipe]]:
    """All runs of a part, the shortest first; the first network of every width, and so on."""
    first, every = map(int, part.split("/"))
    for seed, epochs, genotype, bits, start in product(
        range(given.seeds), sorted(given.epochs), genotypes[first::every], given.bits, given.starts
    ):
        recipe, mine = Recipe(max(1, round(epochs * epoch))), genotype.with_bits(Bits.parse(bits))
        recipe = replace(recipe, noise=0.0) if start in AS_THEY_ARE else recipe
        key = {"key": genotype.architecture, "bits": bits, "start": start, "steps": recipe.steps, "seed": seed}
        key["recipe"] = recipe.digest
        yield key, mine, recipe


def main() -> None:
    """Train what is not there yet, and compare."""
    given = options(
        __doc__, data="fashion", space="fashion", networks=16, seeds=3, bits=["w8a8", "w4a4", "w2a2"],
        epochs=([0.25, 0.5, 1.0], "of the training images, a run each"), starts=(list(STARTS), "some of them only"),
        budget=("weight_bytes=65536,macs=3e6", "of every network at 4 bits"),
        part=("0/1", "which of how many processes this is"), out=Path("benchmarks/results/starts.jsonl"),
    )  # fmt: skip
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    data, space = load(given.data, given.space)
    checkpoint = load_checkpoint(default_checkpoint(given.data))
    ghn, epoch = predictor_for(checkpoint, data), -(-len(data.train) // Recipe.batch)
    held_out = stream(space, 0, "held_out", Bits(4, 4))
    genotypes = list(islice(fitting(held_out, budget_of(given.budget), space), given.networks))
    rows = list(read_rows(given.out))
    told = {"data": data.name, "budget": given.budget, "ghn": checkpoint.weights_hash[:8]}
    for key, genotype, recipe in due(given, genotypes, epoch, given.part):
        key |= told
        if any(key.items() <= row.items() for row in rows):
            continue
        rows.append({**key, **trained(key["start"], genotype, data, recipe, key["seed"], ghn)})
        append_row(given.out, rows[-1])
        print(*rows[-1].values(), flush=True)
    wanted = [{**key, **told} for key, *_ in due(given, genotypes, epoch, "0/1")]
    mine = [row for row in rows if any(key.items() <= row.items() for key in wanted)]
    ghn_seconds = sum(one["counters"]["seconds"] for one in [*checkpoint.card.get("history", []), checkpoint.card])
    finish(data=given.data, hypernetwork_seconds=round(ghn_seconds), results=summary(mine))


if __name__ == "__main__":
    main()
