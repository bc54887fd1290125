"""Does the search pay? Its winner against random networks under the same budget, after the same training.

    python benchmarks/winner.py --seeds 3 --random 8

For each seed: a whole search, then the full training run, from predicted parameters too, of random networks that keep
the budget. Prints a line a seed; the last line is JSON. Test accuracies in per cent.
"""

import json
import tempfile
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev

from common import finish, load, options, random_networks, settle

import qnas
from qnas.nas.limits import Limits
from qnas.space.genotype import Genotype
from qnas.training.jobs import Job, one_thread, run_job
from qnas.training.recipe import Recipe
from qnas.work.ledger import Ledger
from qnas.work.pool import Pool

DATA, SPACE = "digits", "tiny"


def train_all(genotypes: list[Genotype], recipe: Recipe, seed: int, folder: Path, workers: int) -> list[float]:
    """Test accuracies of networks after a full training run."""
    jobs = [Job(genotype, recipe, seed, DATA, DATA, "cpu", test=True) for genotype in genotypes]
    with Pool(run_job, Ledger(folder / "random.jsonl"), workers, one_thread) as pool:
        return [result["test_top1"] for _, result in pool.run(jobs)]


def main() -> None:
    """Run the comparison."""
    given = options(
        __doc__, seeds=3, random=(8, "networks to compare with"), bits="w4a4", max_params=50_000,
        trials=(200, "networks that the search scores"), steps=900, workers=2,
    )  # fmt: skip
    settle()
    limits, recipe, bits = Limits(params=given.max_params), Recipe(given.steps), qnas.Bits.parse(given.bits)
    _, space = load(DATA, SPACE)
    rows = []
    for seed in range(given.seeds):
        with tempfile.TemporaryDirectory() as name:
            winner = qnas.search(
                bits, max_params=limits.params, data=DATA, space=SPACE, ghn=DATA, trials=given.trials, recipe=recipe,
                seed=seed, out=Path(name) / "search", device="cpu", workers=given.workers,
            ).winner  # fmt: skip
            others = list(islice(random_networks(space, limits, bits, seed), given.random))
            reached = train_all(others, recipe, seed, Path(name), given.workers)
        rows.append({
            "seed": seed, "winner": winner.accuracies["test"],
            "winner_validation": winner.accuracies["trained"][str(given.steps)], "params": winner.costs.params,
            "random_mean": fmean(reached), "random_sd": stdev(reached), "random_best": max(reached),
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    wins = sum(row["winner"] > row["random_mean"] for row in rows)
    finish(wins=wins, seeds=given.seeds, random=given.random, bits=given.bits, rows=rows)


if __name__ == "__main__":
    main()
