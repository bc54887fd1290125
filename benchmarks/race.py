"""What freezing ranges once and dropping hopeless networks early saves, and what it costs in the choice.

    python benchmarks/race.py --table checkpoints/digits/truth.jsonl.gz
    python benchmarks/race.py --data cifar10 --space mobile-small --ghn cifar10 --networks 40

The networks (of a table, or drawn) are scored one after the other: by the batch's own folds and ranges on all
validation images; with both frozen once; and frozen once and dropped as soon as they cannot be among the best so far.
Processor's seconds, without the prediction, which all three need. With a table the trained accuracy (mean test accuracy
from predicted parameters) of what each would choose is compared. The last line is JSON.
"""

import argparse
import json
import time
from itertools import islice
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.registry import find_data
from qnas.scores.race import prepare_race
from qnas.scores.ranks import kendall
from qnas.scores.predicted import PredictedScore, predicted_score
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.studies.benchmark_table import load_table


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--ghn", default="digits")
    parser.add_argument("--bits", nargs="+", default=["w4a4", "w2a2"])
    parser.add_argument("--networks", type=int, default=40, help="to draw, where there is no table")
    parser.add_argument("--top", type=int, default=8)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data = find_data(options.data)
    space = find_space(options.space).for_task(data.task)
    ghn = load_checkpoint(options.ghn).ghn
    rows = []
    for bits in (Bits.parse(text) for text in options.bits):
        networks: list[Genotype] = list(islice(stream(space, 1, "held_out", bits), options.networks))
        truths: list[float] = []
        if options.table:
            table = load_table(options.table)
            entries = [entry for entry in table.entries if entry.genotype.bits == bits]
            networks = [entry.genotype for entry in entries]
            truths = [fmean(run.test for run in one.of("predicted", table.settings["steps"])) for one in entries]
        rows.append(one_width(networks, truths, bits, space, data, ghn, options.top))
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"data": data.name, "space": space.name, "images": len(data.validation), "rows": rows}))


def one_width(
    networks: list[Genotype], truths: list[float], bits: Bits, space: Any, data: Any, ghn: Any, top: int
) -> dict[str, Any]:
    """Score all networks three times."""
    race, total = prepare_race(space, bits, data, ghn, 0), len(data.validation)
    scores: dict[str, list[PredictedScore]] = {"dynamic": [], "frozen": [], "raced": []}
    seconds = dict.fromkeys(scores, 0.0)
    missed: list[int] = []
    images = 0

    def clocked(name: str, started: float, score: PredictedScore) -> None:
        seconds[name] += time.process_time() - started
        scores[name].append(score)

    for genotype in networks:
        plan = build_plan(genotype, space.task)
        with torch.inference_mode():
            (parameters,) = ghn([plan], whole=False)
        clocked("dynamic", time.process_time(), predicted_score(plan, parameters, data.validation))
        clocked("frozen", time.process_time(), race.run(plan, parameters).score)
        most = sorted(missed)[top - 1] if len(missed) >= top else float("inf")
        started = time.process_time()
        outcome = race.run(plan, parameters, most)
        clocked("raced", started, outcome.score)
        images += outcome.images
        if outcome.finished:
            missed.append(round((100 - outcome.score.top1) / 100 * total))
    accuracies = {name: np.array([score.top1 for score in found]) for name, found in scores.items()}
    chosen = {name: np.argsort(-found, kind="stable")[:top] for name, found in accuracies.items()}
    row: dict[str, Any] = {
        "bits": str(bits),
        "n": len(networks),
        "top": top,
        "images": round(images / len(networks), 1),
        "milliseconds": {name: round(1000 * value / len(networks), 1) for name, value in seconds.items()},
        "times_faster": {name: round(seconds["dynamic"] / seconds[name], 2) for name in ("frozen", "raced")},
        "same_choice_raced_and_frozen": set(chosen["raced"]) == set(chosen["frozen"]),
        "also_chosen_dynamically": len(set(chosen["raced"]) & set(chosen["dynamic"])),
    }
    if truths:
        truth = np.array(truths)
        row["tau"] = {name: round(kendall(found, truth), 3) for name, found in accuracies.items()}
        row["trained_accuracy_of_choice"] = {
            name: round(float(truth[found].mean()), 2) for name, found in chosen.items()
        }
        row["best_of_choice"] = {name: round(float(truth[found].max()), 2) for name, found in chosen.items()}
    return row


if __name__ == "__main__":
    main()
