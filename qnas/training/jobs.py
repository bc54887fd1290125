"""The training runs of a search or a table, described so that any process can do them.

A job is described by plain values, so that it can travel to another process and be recognised after a kill.
"""

import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet
from qnas.data.registry import find_again, find_data
from qnas.devices import computing
from qnas.network.initial import Predictor
from qnas.quant.choices import GRIDS
from qnas.runs.files import write_tensors
from qnas.runs.reading import not_finite
from qnas.scores.closed_form import predictor_for
from qnas.space.genotype import Genotype
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe
from qnas.work.failures import Failed, memory_may_lack
from qnas.work.ledger import Result

LEDGER = "training.jsonl"
"""The file of their results in a run's folder."""


@dataclass(frozen=True)
class Job:
    """Train a genotype by a recipe from predicted (``ghn`` names the checkpoint) or random (empty) parameters.

    ``output`` names a file for the trained state; ``test`` also reads the test images, which a search never does;
    ``images`` is the fingerprint of the run's images, as JSON, where there is one; ``threads`` how many threads of the
    processor it computes on, 0 for those of the process.
    """

    genotype: Genotype
    recipe: Recipe
    seed: int
    data: str
    ghn: str
    device: str
    output: str = ""
    test: bool = False
    images: str = ""
    threads: int = 0

    @property
    def name(self) -> str:
        """What tells this job from all others of a run."""
        start = "predicted" if self.ghn else "random"
        return f"{self.genotype.key}/{self.recipe.steps}/{self.seed}/{start}/{self.recipe.digest}"

    def computing(self) -> AbstractContextManager[None]:
        """Compute on its threads inside the block."""
        return computing(self.threads or torch.get_num_threads())


class JobName(NamedTuple):
    """What a job's ``name`` says."""

    key: str
    steps: int
    seed: int
    start: str
    recipe: str

    @classmethod
    def of(cls, name: str) -> "JobName":
        """Read a name.

        Raises:
            ValueError: it is no job's.
        """
        key, steps, seed, start, recipe = name.split("/")
        return cls(key, int(steps), int(seed), start, recipe)


@lru_cache(maxsize=1)
def data_of(name: str, device: str, images: str = "") -> DataSet:
    """A data set on a device; the last one is kept.

    Raises:
        QnasError: it cannot be read, or is not what ``images``, a fingerprint as JSON, says.
    """
    found = find_again(name, json.loads(images)) if images else find_data(name)
    return found.to(torch.device(device))


@lru_cache(maxsize=1)
def predictor_of(name: str, data: str, device: str, images: str = "", grid: str = "") -> Predictor:
    """What predicts with a checkpoint for a data set (``data_of``) and a grid, on a device; the last one is kept."""
    return predictor_for(load_checkpoint(name), data_of(data, device, images), GRIDS[grid] if grid else None)


def run_job(job: Job) -> Result:
    """Do a job; save the trained state if it names a file; return its accuracies, in per cent.

    Raises:
        Failed: the network has values that are no numbers.
        QnasError: the images have changed since the run began.
    """
    started = time.perf_counter()
    data = data_of(job.data, job.device, job.images)
    ghn = predictor_of(job.ghn, job.data, job.device, job.images, job.recipe.grid) if job.ghn else None
    losses: list[Tensor] = []
    network = train_network(job.genotype, data, job.recipe, job.seed, ghn, losses.append)
    if bad := not_finite(network.state_dict()):
        raise Failed(f"{bad[0]} is no number after training")
    accuracy = deployed_accuracy(network, data.validation)
    if job.output:
        write_tensors(Path(job.output), network.state_dict())
    result = {"job": job.name, "top1": accuracy.top1, "top5": accuracy.top5}
    if job.test:
        result |= {"test_top1": deployed_accuracy(network, data.test).top1, "losses": in_tenths(losses)}
    return {**result, "seconds": round(time.perf_counter() - started, 2)}


def in_tenths(losses: list[Tensor]) -> list[float]:
    """The mean losses of the ten parts of a run, or of its steps where they are fewer."""
    parts = torch.stack(losses).tensor_split(min(10, len(losses)))
    return [round(part.mean().item(), 4) for part in parts]


def attempted(do: Callable[[Job], Result], job: Job) -> Result:
    """What a job gives; where its network is at fault, the reason under ``failed``.

    Args:
        do: does a job.
        job: to do.
    """
    try:
        with memory_may_lack(), job.computing():
            result = do(job)
        if not isfinite(result["top1"]):
            raise Failed("its accuracy is no number")
    except Failed as reason:
        return {"job": job.name, "failed": str(reason)}
    return result


def one_thread() -> None:
    """Let this process compute on one thread, which is fastest for small networks and leaves the others their cores."""
    torch.set_num_threads(1)
