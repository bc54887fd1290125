"""Training runs of candidates, several at once in processes of their own, each result written down as it comes.

A job is described by plain values, so that it can travel to another process and be recognised after a kill.
"""

import multiprocessing
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qnas.checkpoints.files import append_row, read_rows, write_tensors
from qnas.checkpoints.store import load_checkpoint
from qnas.data.find import find_data
from qnas.data.images import DataSet
from qnas.ghn.model import GHN
from qnas.space.genotype import Genotype
from qnas.training.qat import QATSettings, deployed_accuracy, train_network


@dataclass(frozen=True)
class Job:
    """Train a genotype for some steps from predicted (``ghn`` names the checkpoint) or random (empty) parameters.

    ``weights`` names a file for the trained state; ``test`` also reads the test images, which a search never does.
    """

    genotype: Genotype
    steps: int
    seed: int
    data: str
    ghn: str
    device: str
    weights: str = ""
    test: bool = False

    @property
    def name(self) -> str:
        """What tells this job from all others of a run."""
        return f"{self.genotype.key}/{self.steps}/{self.seed}/{'predicted' if self.ghn else 'random'}"


@lru_cache(maxsize=1)
def _data(name: str, device: str) -> DataSet:
    return find_data(name).to(torch.device(device))


@lru_cache(maxsize=1)
def _ghn(name: str) -> GHN:
    return load_checkpoint(name).ghn


def run_job(job: Job) -> dict[str, Any]:
    """Do a job; save the trained state if it names a file; return its accuracies, in per cent."""
    started = time.perf_counter()
    data = _data(job.data, job.device)
    network = train_network(job.genotype, data, QATSettings(job.steps), job.seed, _ghn(job.ghn) if job.ghn else None)
    accuracy = deployed_accuracy(network, data.validation)
    if job.weights:
        write_tensors(Path(job.weights), network.state_dict())
    result = {"job": job.name, "top1": accuracy.top1, "top5": accuracy.top5}
    if job.test:
        result["test_top1"] = deployed_accuracy(network, data.test).top1
    return {**result, "seconds": round(time.perf_counter() - started, 2)}


class Ledger:
    """The results of a run's jobs: one JSON line each, appended when the job ends, so that none is done twice."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.results: dict[str, dict[str, Any]] = {row["job"]: row for row in read_rows(path)}

    def add(self, result: dict[str, Any]) -> None:
        """Write a result down."""
        self.results[result["job"]] = result
        append_row(self.path, result)


class Pool:
    """Runs jobs in ``workers`` processes, or in this one if that is 1; close it, or use it as a context."""

    def __init__(self, workers: int, ledger: Ledger) -> None:
        self.ledger = ledger
        context = multiprocessing.get_context("spawn")
        self.executor = (
            ProcessPoolExecutor(workers, context, initializer=torch.set_num_threads, initargs=(1,))
            if workers > 1
            else None
        )

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)

    def run(self, jobs: list[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Each job with its result, as they end; those in the ledger come first."""
        todo = []
        for job in jobs:
            if job.name in self.ledger.results and (not job.weights or Path(job.weights).is_file()):
                yield job, self.ledger.results[job.name]
            else:
                todo.append(job)
        if self.executor is None:
            for job in todo:
                yield job, self._kept(run_job(job))
            return
        waiting: dict[Future[dict[str, Any]], Job] = {self.executor.submit(run_job, job): job for job in todo}
        for future in as_completed(waiting):
            yield waiting[future], self._kept(future.result())

    def _kept(self, result: dict[str, Any]) -> dict[str, Any]:
        self.ledger.add(result)
        return result
