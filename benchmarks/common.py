"""What the benchmarks share: options, threads, networks to measure on, clocks, and the last line of JSON.

Imports no torch before it is needed, so that the memory of what does without is measured without.
"""

import argparse
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from statistics import median, stdev
from typing import TYPE_CHECKING, Any, TypeVar

from qnas.nas.limits import Limits
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.runs.machine import processor
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace, find_space
from qnas.training.price import price
from qnas.training.recipe import Recipe

if TYPE_CHECKING:
    from qnas.data.images import DataSet

Result = TypeVar("Result")
HELP = {
    "bits": "bit widths, such as w4a4",
    "budgets": "limits of every network, such as weight_bytes=16384,macs=1e6",
    "data": "name or folder of a data set",
    "ghn": "name or folder of a checkpoint",
    "max_params": "budget of every network",
    "networks": "how many to measure",
    "out": "folder of results; what lies there is not done again",
    "reference": "checkout of facebookresearch/ppuda",
    "repeats": "how often each is timed",
    "seeds": "how many",
    "space": "name or file of a search space",
    "steps": "of training",
    "table": "table of trained networks",
    "threads": "of the processor",
    "workers": "processes",
}
"""What options mean in every script that has them."""


def options(doc: str | None, /, **defaults: Any) -> argparse.Namespace:
    """What the command line says.

    Args:
        doc: of the script.
        defaults: an option each: its default, or this and what it means where ``HELP`` does not say. The default's
            type is the option's; a list takes several of its first one's, or words if it is empty; ``False`` makes a
            switch, and ``Path`` is a path that may be left out.
    """
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, given in defaults.items():
        default, meaning = given if isinstance(given, tuple) else (given, HELP.get(name))
        kind: dict[str, Any] = {"default": default, "type": Path if isinstance(default, Path) else type(default)}
        if default is False:
            kind = {"action": "store_true"}
        elif default is Path:
            kind = {"type": Path}
        elif isinstance(default, list):
            kind = {"default": default, "nargs": "+", "type": type(default[0]) if default else str}
        parser.add_argument(f"--{name.replace('_', '-')}", help=meaning, **kind)
    return parser.parse_args()


def settle(threads: int = 1) -> None:
    """Compute on so many threads, by default one, and draw the same random numbers every time."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)


def load(data: str, space: str) -> "tuple[DataSet, SearchSpace]":
    """A data set, and a space with its limits counted for it."""
    from qnas.data.registry import find_data

    images = find_data(data)
    return images, find_space(space).for_task(images.task)


def networks(space: SearchSpace, count: int, seed: int = 0, part: str = "all", bits: Bits = FP32) -> list[Genotype]:
    """The first networks of a stream of the space."""
    return list(islice(stream(space, seed, part, bits), count))


def budget_of(text: str) -> Limits:
    """Limits from text such as ``weight_bytes=32768,macs=3e6``; none from empty text."""
    pairs = (part.split("=") for part in text.split(",") if part)
    return Limits(**{name: int(float(value)) for name, value in pairs})


def random_networks(space: SearchSpace, limits: Limits, bits: Bits, seed: int) -> Iterator[Genotype]:
    """Different networks of the space that keep the budget, drawn evenly."""
    for genotype in stream(space, seed + 100, bits=bits):
        if limits.excess(costs(build_plan(genotype, space.task))) <= 0:
            yield genotype


def images_in(seconds: float, plan: Plan) -> float:
    """The images that a network is trained on in so many seconds of the machine that prices are for."""
    return 1e6 * seconds / price(plan, Recipe.batch)


def steps_in(seconds: float, plan: Plan) -> int:
    """The steps that it takes in them, at least one."""
    return max(1, round(images_in(seconds, plan) / Recipe.batch))


def timed(work: Callable[[], Result], clock: Callable[[], float] = time.perf_counter) -> tuple[Result, float]:
    """What the work gives, and the seconds that it takes on a clock."""
    started = clock()
    result = work()
    return result, clock() - started


def seconds(work: Callable[[], object], repeats: int = 1) -> float:
    """The median time of the work on the wall clock."""
    return median(timed(work)[1] for _ in range(repeats))


def spread(values: list[float], digits: int = 2) -> str:
    """Median, lowest and highest."""
    return f"{median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def give_or_take(values: list[float]) -> float | None:
    """Half of the 95 % interval of the mean of values that are spread normally; nothing of a single one."""
    from scipy.stats import t as student

    if len(values) < 2:
        return None
    return round(float(student.ppf(0.975, len(values) - 1)) * stdev(values) / len(values) ** 0.5, 2)


def finish(**facts: Any) -> None:
    """Print the last line: the facts, and what they were measured on, as JSON."""
    machine = {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "python": platform.python_version(),
        "torch": version("torch"),
    }
    print(json.dumps({**facts, "machine": machine}))
