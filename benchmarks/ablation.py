"""What each choice beyond GHN-2 and the paper's recipe is worth: hypernetworks for the digits, one choice changed each.

    python benchmarks/ablation.py --minutes 4 --out runs/ablation

Every variant trains for the same time on one thread and is scored on the same unseen networks and validation images. A
variant that is already in ``results.jsonl`` is not run again, so the command can be repeated after a kill. The last
line is JSON: the rows.
"""

import argparse
import json
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any
from unittest.mock import patch

import torch

from qnas.checkpoints.files import append_row, read_rows
from qnas.data.find import find_data
from qnas.evaluation.ghn_tables import evaluate_ghn
from qnas.ghn.config import GHN_2, GHNConfig, config_for
from qnas.ghn.model import GHN
from qnas.quant.scheme import PAPER_BITS
from qnas.space.space import find_space
from qnas.training.fit_ghn import FitSettings, GHNTrainer

SPLITS = ("id", "deep", "wide", "bn_free")


@dataclass(frozen=True)
class Variant:
    """One change, and why the default is what it is."""

    name: str
    why: str
    config: Callable[[GHNConfig], GHNConfig] = lambda config: config
    settings: Callable[[FitSettings], FitSettings] = lambda settings: settings
    patches: tuple[tuple[str, Any], ...] = ()


VARIANTS = (
    Variant("default", ""),
    Variant("GHN-2's sizes", "64 channels and wide decoders cost time that small networks do not repay",
            config=lambda c: replace(GHN_2, knows_bits=True, features=c.features)),
    Variant("GHN-2's features", "sums, pools and concatenations also tell their channels",
            config=lambda c: replace(c, features="ghn-2")),
    Variant("blind to bit widths", "one hypernetwork serves every width",
            config=lambda c: replace(c, knows_bits=False)),
    Variant("synchronous sweeps", "all nodes at once are cheaper and weaker",
            config=lambda c: replace(c, sweep="synchronous")),
    Variant("synchronous, two rounds", "two cheap rounds for one dear one",
            config=lambda c: replace(c, sweep="synchronous", rounds=2)),
    Variant("in distribution only", "a share of deep, wide and BN-free networks leaves no split out",
            settings=lambda s: replace(s, splits="id=1")),
    Variant("no float phase", "the first part of the run in float is cheaper",
            settings=lambda s: replace(s, float_share=0.0)),
    Variant("no averaging", "the moving average of the weights smooths the last steps",
            settings=lambda s: replace(s, average=0.0)),
    Variant("no limit a network", "one network's gradient must not drown the others'",
            patches=(("qnas.training.fit_ghn.clip_factor", lambda norm, most: torch.ones_like(norm)),)),
    Variant("NoiseQuant at 2 bits", "rounding itself at every width", settings=lambda s: replace(s, noise="w2a2")),
    Variant("absolute ranges at 2 bits", "the outer 1 % is clipped there",
            patches=(("qnas.network.forward.CLIP_AT", 1), ("qnas.quant.ranges.CLIP_AT", 1))),
    Variant("batch-norm epsilon of 1e-5", "1e-2 keeps silenced channels from taking the whole range",
            patches=(("qnas.network.forward.EPSILON", 1e-5), ("qnas.quant.fold.EPSILON", 1e-5))),
)  # fmt: skip


@contextmanager
def patched(patches: tuple[tuple[str, Any], ...]) -> Any:
    """The package with some of its constants or functions replaced."""
    running = [patch(target, value) for target, value in patches]
    for one in running:
        one.start()
    try:
        yield
    finally:
        for one in running:
            one.stop()


def measured(variant: Variant, settings: FitSettings, networks: int) -> dict[str, Any]:
    """Train and score one variant."""
    data = find_data("digits")
    space = find_space("tiny").for_data(data.image, len(data.classes))
    torch.manual_seed(settings.seed)
    ghn = GHN(variant.config(config_for(space)))
    with patched(variant.patches):
        trainer = GHNTrainer(ghn, data, space, variant.settings(settings))
        for _ in trainer.run():
            pass
        ghn.load_state_dict(trainer.averaged)
        rows = evaluate_ghn(ghn.eval(), space, data.validation, SPLITS, PAPER_BITS, networks)
    counters = trainer.count_skipped()
    cells = {f"{row.split} {row.bits}": [round(row.top1_mean, 2), round(row.top1_sem, 2)] for row in rows}
    return {"variant": variant.name, "why": variant.why, "counters": asdict(counters), "n": networks, "cells": cells}


def main() -> None:
    """Measure all variants and print their table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--networks", type=int, default=50)
    parser.add_argument("--only", nargs="*", help="names of variants")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("runs/ablation"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    path = arguments.out / "results.jsonl"
    settings = FitSettings(minutes=arguments.minutes, float_share=0.3, seed=arguments.seed)
    for variant in VARIANTS:
        known = [row["variant"] for row in read_rows(path)]
        if variant.name not in known and (not arguments.only or variant.name in arguments.only):
            append_row(path, measured(variant, settings, arguments.networks))
    rows = read_rows(path)
    names = [str(bits) for bits in PAPER_BITS]
    print(f"{'':28}" + "".join(f"{name:>12}" for name in names) + "   mean of the other splits at w4a4")
    for row in rows:
        own = "".join(f"{row['cells'][f'id {name}'][0]:7.1f} ±{row['cells'][f'id {name}'][1]:3.1f}" for name in names)
        others = fmean(row["cells"][f"{split} w4a4"][0] for split in SPLITS[1:])
        print(f"{row['variant']:28}{own}   {others:.1f}   {row['counters']['step']} steps")
    print(json.dumps({"rows": rows, "minutes": arguments.minutes, "n": arguments.networks}))


if __name__ == "__main__":
    main()
