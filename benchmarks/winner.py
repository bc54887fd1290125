"""Does the search pay? Its winner against random networks under the same budget, after the same training.

For each seed: a whole search, then the full training run, from predicted parameters too, of random networks that keep
the budget. Prints a line a seed and ends with one line of JSON. Test accuracies in per cent.

    python benchmarks/winner.py --seeds 3 --random 8
"""

import argparse
import json
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from statistics import fmean, stdev

import torch

from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.nas.candidate import Candidate
from qnas.training.jobs import Job, Ledger, Pool
from qnas.nas.budgets import Limits
from qnas.nas.search import PICKS, load_pick, open_run, prepare, search
from qnas.nas.settings import SearchSettings
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.training.qat import deployed_accuracy


class Silent:
    """A progress bar that shows nothing."""

    def update(self, share: float, remark: str) -> None:
        """Show nothing."""


def random_networks(space: SearchSpace, limits: Limits, bits: Bits, seed: int) -> Iterator[Genotype]:
    """Different networks of the space that keep the budget, drawn evenly."""
    for genotype in stream(space, seed + 100, bits=bits):
        if limits.excess(costs(build_plan(genotype, space.task))) <= 0:
            yield genotype


def train_all(genotypes: list[Genotype], settings: SearchSettings, folder: Path, workers: int) -> list[float]:
    """Test accuracies after the full run of the search's settings."""
    data: DataSet = prepare(settings).data
    jobs = []
    for genotype in genotypes:
        weights = str(folder / PICKS / f"{genotype.key}.safetensors")
        jobs.append(Job(genotype, settings.steps, settings.seed, settings.data, settings.ghn, "cpu", weights))
    with Pool(workers, Ledger(folder / "training.jsonl")) as pool:
        done = [job.genotype for job, _ in pool.run(jobs)]
    return [deployed_accuracy(load_pick(folder, genotype, data), data.test).top1 for genotype in done]


def main() -> None:
    """Run the comparison."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--random", type=int, default=8)
    parser.add_argument("--bits", default="w4a4")
    parser.add_argument("--max-params", type=int, default=50_000)
    parser.add_argument("--trials", type=int, default=200)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for seed in range(options.seeds):
        limits, bits = Limits(params=options.max_params), Bits.parse(options.bits)
        settings = SearchSettings(bits=bits, limits=limits, trials=options.trials, steps=options.steps, seed=seed)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name) / "search"
            prepared = prepare(settings)
            open_run(prepared.identity, folder)
            picks: list[Candidate] = search(
                settings, prepared, folder, "cpu", options.workers, lambda title: nullcontext(Silent())
            )
            networks = list(islice(random_networks(prepared.space, limits, bits, seed), options.random))
            others = train_all(networks, settings, Path(name) / "random", options.workers)
        winner = picks[0]
        row = {
            "seed": seed,
            "winner": winner.test,
            "winner_validation": winner.best_trained,
            "params": winner.costs.params,
            "random_mean": fmean(others),
            "random_sd": stdev(others),
            "random_best": max(others),
        }
        rows.append(row)
        print(json.dumps(row), flush=True)
    wins = sum(row["winner"] > row["random_mean"] for row in rows)
    print(
        json.dumps({"wins": wins, "seeds": options.seeds, "random": options.random, "bits": options.bits, "rows": rows})
    )


if __name__ == "__main__":
    main()
