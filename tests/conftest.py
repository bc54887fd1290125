"""What all tests share: one thread, a seed, examples of the same kind in every run, networks of the shipped spaces."""

import os
import warnings
from collections.abc import Callable
from itertools import islice

import pytest
import torch
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"  # of what tests start, too: as many of them run at once as there are cores

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # its import warns of torch.jit, which is not ours to mend
    import torch_geometric  # noqa: F401

import numpy as np

from qnas.data.digits import digits
from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.space.space import find_space
from qnas.studies.benchmark_table import BenchmarkTable, Entry, Run
from qnas.task import Task

settings.register_profile("suite", deadline=None, max_examples=50, derandomize=True)
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def digits_data() -> DataSet:
    return digits()


@pytest.fixture
def genotype() -> Genotype:
    """Two cells, both reductions, that hold every operation of the paper; one sum adds a state to itself."""
    steps = (
        (Branch(0, "sep_conv", 3), Branch(1, "conv", 5)),
        (Branch(1, "max_pool", 3), Branch(2, "avg_pool", 3)),
        (Branch(0, "dil_conv", 5), Branch(1, "skip", 1)),
        (Branch(3, "skip", 1), Branch(3, "skip", 1)),
    )
    return Genotype(3, 1, 4, 2, True, (), steps)


@pytest.fixture(scope="session")
def sample() -> Callable[[str, str, int], list[Genotype]]:
    """Genotypes of a split of a shipped space, kept from one test to the next."""
    drawn: dict[tuple[str, str], list[Genotype]] = {}

    def take(name: str, split: str, count: int) -> list[Genotype]:
        if len(drawn.get((name, split), [])) < count:
            drawn[name, split] = list(islice(stream(find_space(name).of_split(split), 0), count))
        return drawn[name, split][:count]

    return take


@pytest.fixture(scope="session")
def draw(sample: Callable[[str, str, int], list[Genotype]]) -> Callable[..., list[Plan]]:
    """Plans of a split of a shipped space at its own image size, or at another one."""

    def take(name: str, split: str, count: int, side: int = 0, bits: Bits = FP32) -> list[Plan]:
        space = find_space(name)
        channels, height, width = space.task.image
        task = Task((channels, side or height, side or width), space.task.classes)
        return [build_plan(genotype.with_bits(bits), task) for genotype in sample(name, split, count)]

    return take


@pytest.fixture(scope="session")
def made_up_table() -> BenchmarkTable:
    """60 networks at two widths, runs of 24 steps: accuracies that a hidden quality sets, with a little noise.

    At W2A2 the predicted score knows nothing of the quality; SNIP's is its opposite.
    """
    rng = np.random.default_rng(0)
    space, entries = find_space("tiny"), []
    for bits in (Bits(4, 4), Bits(2, 2)):
        for genotype in islice(stream(space, 0, bits=bits), 60):
            quality = rng.uniform(30, 90)
            score = quality + rng.normal(0, 3) if bits == Bits(4, 4) else rng.uniform(30, 90)

            def run(start: str, seed: int, steps: int, quality: float = quality) -> Run:
                value = quality + (5 if start == "predicted" else 0) + rng.normal(0, 2)
                return Run(start, seed, steps, round(value, 3), round(value + rng.normal(0, 1), 3), 1.0)

            runs = [run(start, 0, steps) for start in ("predicted", "random") for steps in (2, 6, 17)]
            runs += [run(start, seed, 24) for start in ("predicted", "random") for seed in (0, 1)]
            signals = {
                "top1": score,
                "loss": 3 - score / 40,
                "margin": score / 50 - 1,
                "gradient_norm": rng.uniform(),
                "snip": -quality,
            }
            spent = costs(build_plan(genotype, Task((1, 8, 8), 10)))
            entries.append(Entry(genotype, spent, signals, (0.0,), tuple(runs)))
    return BenchmarkTable({"data": "digits", "steps": 24}, 17, tuple(entries))
