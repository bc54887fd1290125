"""What each choice beyond GHN-2 and the paper's recipe is worth: hypernetworks for the digits, one choice changed each.

    python benchmarks/ablation.py --steps 800 --seeds 3 --out runs/ablation

Every variant trains for the same steps on one thread, from several seeds, and is scored on the same unseen networks and
validation images; what a step costs in processor time stands beside. A run that is already in ``results.jsonl`` is not
done again, so the command can be repeated after a kill, and with more seeds. Prints a Markdown table, mean and standard
deviation over the seeds, and as the last line JSON: the rows.
"""

import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean, stdev
from typing import Any
from unittest.mock import patch

import torch
from common import finish, load, options, settle, timed

from qnas.ghn.config import GHN_2, GHNConfig, config_for
from qnas.ghn.model import GHN
from qnas.quant.scheme import Bits
from qnas.runs.files import append_row, read_rows
from qnas.studies.ghn_tables import evaluate_ghn
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_settings import FitSettings

SPLITS = ("id", "deep", "wide", "bn_free")
BITS = tuple(Bits.parse(text) for text in ("fp32", "w4a4", "w2a2"))


@dataclass(frozen=True)
class Variant:
    """One choice undone, and what that is. ``patches`` undo choices that are no setting, for the time of a run."""

    name: str
    what: str
    config: Callable[[GHNConfig], GHNConfig] = lambda config: config
    settings: Callable[[FitSettings], FitSettings] = lambda settings: settings
    patches: tuple[tuple[str, Any], ...] = ()


VARIANTS = (
    Variant("nothing: today's default", ""),
    Variant("GHN-2's sizes", "64 channels, a decoder of 128 and 256: half again the time a step",
            config=lambda c: replace(c, channels=GHN_2.channels, decoder=GHN_2.decoder)),
    Variant("GHN-2's features", "sums, pools and concatenations tell no channels; rows and columns share tables",
            config=lambda c: replace(c, features="ghn-2")),
    Variant("blind to bit widths", "one hypernetwork for all widths is not told which one it predicts for",
            config=lambda c: replace(c, knows_bits=False)),
    Variant("blind to places", "depth, height and the side of the images are untold",
            config=lambda c: replace(c, knows_places=False)),
    Variant("sequential sweeps", "one node after another, as in GHN-2",
            config=lambda c: replace(c, sweep="sequential")),
    Variant("two rounds", "all sweeps twice",
            config=lambda c: replace(c, rounds=2)),
    Variant("in distribution only", "no deep, wide or BN-free network in training: BN-free ones fall behind",
            settings=lambda s: replace(s, splits="id=1")),
    Variant("a float phase", "the first 30 % in float",
            settings=lambda s: replace(s, float_share=0.3)),
    Variant("Adam", "for the matrices too",
            settings=lambda s: replace(s, optimizer="adam")),
    Variant("no averaging", "the last weights instead of their moving average",
            settings=lambda s: replace(s, average=0.0)),
    Variant("no limit a network", "no network's gradient is cut to length 5 before the mean",
            patches=(("qnas.training.fit_ghn.clip_factor", lambda norm, most: torch.ones_like(norm)),)),
    Variant("NoiseQuant at 2 bits", "noise instead of rounding in training",
            settings=lambda s: replace(s, noise="w2a2")),
    Variant("absolute ranges at 2 bits", "no clipping of the outer 1 %",
            patches=(("qnas.quant.ranges.CLIP_AT", 1),)),
    Variant("batch-norm epsilon of 1e-5", "the usual one: amplifies channels that rounding has silenced",
            patches=(("qnas.network.arithmetic.EPSILON", 1e-5), ("qnas.quant.fold.EPSILON", 1e-5))),
)  # fmt: skip


def measured(variant: Variant, settings: FitSettings, networks: int) -> dict[str, Any]:
    """Train and score one variant."""
    data, space = load("digits", "tiny")
    torch.manual_seed(settings.seed)
    ghn = GHN(variant.config(config_for(space)))
    with ExitStack() as stack:
        for target, value in variant.patches:
            stack.enter_context(patch(target, value))
        trainer = GHNTrainer(ghn, data, space, variant.settings(settings))
        _, seconds = timed(lambda: [step.step for step in trainer.run()], time.process_time)
        ghn.load_state_dict(trainer.averaged)
        table = evaluate_ghn(ghn.eval(), space, data.validation, SPLITS, BITS, networks)
    cells = {f"{row.split} {row.bits}": [round(row.top1_mean, 2), round(row.top1_sem, 2)] for row in table.rows}
    return {
        "variant": variant.name, "seed": settings.seed, "counters": asdict(trainer.count_skipped()),
        "cpu_seconds": round(seconds, 1), "n": networks, "cells": cells,
    }  # fmt: skip


def main() -> None:
    """Measure all variants and print their table."""
    given = options(
        __doc__, steps=800, networks=(30, "to score, of each split"), only=([], "names of variants"), seeds=3,
        out=Path("runs/ablation"),
    )  # fmt: skip
    settle()
    given.out.mkdir(parents=True, exist_ok=True)
    path = given.out / "results.jsonl"
    chosen = [variant for variant in VARIANTS if not given.only or variant.name in given.only]
    for seed in range(given.seeds):
        settings = FitSettings(steps=given.steps, seed=seed)
        for variant in chosen:
            if (variant.name, seed) not in {(row["variant"], row["seed"]) for row in rows_of(path, given)}:
                append_row(path, measured(variant, settings, given.networks))
    rows = rows_of(path, given)
    heads = " | ".join(str(bits).upper() for bits in BITS)
    print(f"| changed | {heads} | other splits, W4A4 | CPU ms a step | what that is |")
    print("|---|" + "---|" * (len(BITS) + 3))
    for variant in chosen:
        own = [row for row in rows if row["variant"] == variant.name]
        means = [[row["cells"][f"id {bits}"][0] for row in own] for bits in BITS]
        means.append([fmean(row["cells"][f"{split} w4a4"][0] for split in SPLITS[1:]) for row in own])
        cells = " | ".join(over_seeds(values) for values in means)
        cost = fmean(1000 * row["cpu_seconds"] / row["counters"]["step"] for row in own)
        print(f"| {variant.name} | {cells} | {cost:.0f} | {variant.what} |")
    finish(rows=rows, steps=given.steps, n=given.networks, seeds=given.seeds)


def rows_of(path: Path, given: Namespace) -> list[dict[str, Any]]:
    """The results so far of runs as long, and scored on as many networks, as is asked for."""
    asked = (given.steps, given.networks)
    return [row for row in read_rows(path) if (row["counters"]["step"], row["n"]) == asked]


def over_seeds(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{fmean(values):.1f} ± {stdev(values):.1f}" if len(values) > 1 else f"{values[0]:.1f}"


if __name__ == "__main__":
    main()
