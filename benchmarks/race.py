"""What freezing ranges once and dropping hopeless networks early saves, and what it costs in the choice.

    python benchmarks/race.py --table checkpoints/digits/truth.jsonl.gz
    python benchmarks/race.py --data cifar10 --space mobile-small --ghn cifar10 --networks 40

The networks (of a table, or drawn) are scored one after the other: by the batch's own folds and ranges on all
validation images; with both frozen once; and frozen once and dropped as soon as they cannot be among the best so far.
Processor's seconds, without the prediction, which all three need. With a table the trained accuracy (mean test accuracy
from predicted parameters) of what each would choose is compared. The last line is JSON.
"""

import json
import time
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch
from common import finish, load, networks, options, settle, timed

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.scores.accuracy import predicted_accuracy
from qnas.scores.race import prepare_race
from qnas.scores.ranks import kendall
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.studies.benchmark_table import load_table


def main() -> None:
    """Measure and print."""
    given = options(
        __doc__, table=Path, data="digits", space="tiny", ghn="digits", bits=["w4a4", "w2a2"],
        networks=(40, "to draw, where there is no table"), top=(8, "how many are chosen"),
    )  # fmt: skip
    settle()
    data, space = load(given.data, given.space)
    ghn, table = load_checkpoint(given.ghn).ghn, load_table(given.table) if given.table else None
    rows = []
    for bits in map(Bits.parse, given.bits):
        chosen, trained = networks(space, given.networks, 1, "held_out", bits), list[float]()
        if table:
            entries = [entry for entry in table.entries if entry.genotype.bits == bits]
            chosen = [entry.genotype for entry in entries]
            trained = [fmean(run.test for run in one.of("predicted", table.settings["steps"])) for one in entries]
        rows.append(one_width(chosen, trained, bits, space, data, ghn, given.top))
        print(json.dumps(rows[-1]), flush=True)
    finish(data=data.name, space=space.name, images=len(data.validation), rows=rows)


def one_width(
    genotypes: list[Genotype], trained: list[float], bits: Bits, space: SearchSpace, data: DataSet, ghn: GHN, top: int
) -> dict[str, Any]:
    """Score all networks three times."""
    race, total, count = prepare_race(space, bits, data, ghn, 0), len(data.validation), len(genotypes)
    scores: dict[str, list[float]] = {"dynamic": [], "frozen": [], "raced": []}
    seconds = dict.fromkeys(scores, 0.0)
    missed: list[int] = []
    images = 0
    clocked = partial(timed, clock=time.process_time)
    for genotype in genotypes:
        plan = build_plan(genotype, space.task)
        with torch.inference_mode():
            (parameters,) = ghn([plan], whole=False)
        most = sorted(missed)[top - 1] if len(missed) >= top else float("inf")
        dynamic = clocked(partial(predicted_accuracy, plan, parameters, data.validation))
        frozen = clocked(partial(race.run, plan, parameters))
        raced = clocked(partial(race.run, plan, parameters, most))
        found = {"dynamic": dynamic[0], "frozen": frozen[0].score, "raced": raced[0].score}
        for (name, score), (_, spent) in zip(found.items(), (dynamic, frozen, raced), strict=True):
            scores[name].append(score.top1)
            seconds[name] += spent
        images += raced[0].images
        if raced[0].finished:
            missed.append(round((100 - raced[0].score.top1) / 100 * total))
    accuracies = {name: np.array(found) for name, found in scores.items()}
    chosen = {name: np.argsort(-found, kind="stable")[:top] for name, found in accuracies.items()}
    row: dict[str, Any] = {
        "bits": str(bits),
        "n": count,
        "top": top,
        "images": round(images / count, 1),
        "milliseconds": {name: round(1000 * value / count, 1) for name, value in seconds.items()},
        "times_faster": {name: round(seconds["dynamic"] / seconds[name], 2) for name in ("frozen", "raced")},
        "same_choice_raced_and_frozen": set(chosen["raced"]) == set(chosen["frozen"]),
        "also_chosen_dynamically": len(set(chosen["raced"]) & set(chosen["dynamic"])),
    }
    if trained:
        truth = np.array(trained)
        row["tau"] = {name: round(kendall(found, truth), 3) for name, found in accuracies.items()}
        row["trained_accuracy_of_choice"] = {
            name: round(float(truth[found].mean()), 2) for name, found in chosen.items()
        }
        row["best_of_choice"] = {name: round(float(truth[found].max()), 2) for name, found in chosen.items()}
    return row


if __name__ == "__main__":
    main()
