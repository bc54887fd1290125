"""Training runs of candidates, several at once in processes of their own, each result written down as it comes.

A job is described by plain values, so that it can travel to another process and be recognised after a kill.
"""

import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from qnas.checkpoints.files import append_row, read_rows, write_tensors
from qnas.checkpoints.store import load_checkpoint
from qnas.data.find import find_data
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.search.board import Board, facts_of
from qnas.space.genotype import Genotype
from qnas.training.qat import QATSettings, deployed_accuracy, train_network

MOST_DEATHS = 5
"""How often killed processes are replaced before a run gives up."""
WAIT = 0.5
"""Seconds between looks at what other hosts have done."""


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

    def has(self, job: Job) -> bool:
        """Whether a job needs no more work."""
        return job.name in self.results and (not job.weights or Path(job.weights).is_file())

    def claim(self, job: Job) -> bool:
        """Whether this process should do a job: it does all there are."""
        return True

    def add(self, result: dict[str, Any]) -> None:
        """Write a result down."""
        self.results[result["job"]] = result
        append_row(self.path, result)


class SharedLedger(Ledger):
    """A ledger that shares its jobs out with other hosts, but for those that leave weights, which each host needs.

    Args:
        path: of this host's own lines.
        board: of the others' results.
    """

    def __init__(self, path: Path, board: Board) -> None:
        super().__init__(path)
        self.board = board
        self.claimed: dict[str, int] = {}

    def has(self, job: Job) -> bool:
        """Whether a job needs no more work here, looking at what others have done."""
        if not job.weights and job.name not in self.results and job.name in self.board.done:
            self.results[job.name] = facts_of(self.board.done[job.name])["result"]
        return super().has(job)

    def claim(self, job: Job) -> bool:
        """Take a job, unless another host is at it or has just done it."""
        if job.weights or job.name in self.claimed:  # by a process of this host that was killed
            return True
        number = self.board.claim(job.name)
        if number is not None:
            self.claimed[job.name] = number
        return number is not None

    def add(self, result: dict[str, Any]) -> None:
        """Write a result down, here and for the others."""
        super().add(result)
        number = self.claimed.pop(result["job"], None)
        if number is not None:
            self.board.finish(number, [result["top1"]], result=result)


Task = Callable[..., Any]


class Pool:
    """Does work in ``workers`` processes, or in this one if that is 1; close it, or use it as a context.

    Processes that were killed are replaced, and what they were doing is done again.
    """

    def __init__(self, workers: int, ledger: Ledger) -> None:
        self.workers, self.ledger, self.deaths = workers, ledger, 0
        self.executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self.start()

    def start(self) -> None:
        """Start the processes, or start them anew."""
        context = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(self.workers, context, initializer=torch.set_num_threads, initargs=(1,))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *error: object) -> None:
        if self.executor is not None:
            self.executor.shutdown(cancel_futures=True)

    def run(self, jobs: list[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Each job with its result, as they end.

        Raises:
            QnasError: processes are killed again and again.
        """
        todo = list(jobs)
        running: dict[Future[dict[str, Any]], Job] = {}
        while todo or running:
            later = []
            for job in todo:
                if self.ledger.has(job):
                    yield job, self.ledger.results[job.name]
                elif len(running) == self.workers or not self.ledger.claim(job):
                    later.append(job)
                elif self.executor is None:
                    yield job, self._kept(run_job(job))
                else:
                    try:
                        running[self.executor.submit(run_job, job)] = job
                    except BrokenProcessPool:
                        later.append(job)
                        if not running:
                            self._replace()
            todo = later
            if not running:
                time.sleep(WAIT if todo else 0)
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                job = running.pop(future)
                try:
                    yield job, self._kept(future.result())
                except BrokenProcessPool:
                    self._replace()
                    todo += [job, *running.values()]
                    running.clear()
                    break

    def everywhere(self, task: Task, arguments: Callable[[], tuple[Any, ...]], watch: Callable[[], None]) -> None:
        """Do a task in every process at once.

        Args:
            task: what to do.
            arguments: gives its arguments; asked again when processes were killed and the task is begun anew.
            watch: called every second.

        Raises:
            QnasError: processes are killed again and again.
        """
        done = False
        while not done:
            assert self.executor is not None  # who has no processes does the task itself
            given = arguments()
            try:
                waiting = {self.executor.submit(task, *given) for _ in range(self.workers)}
                while waiting:
                    ended, waiting = wait(waiting, timeout=1.0, return_when=FIRST_COMPLETED)
                    watch()
                    for future in ended:
                        future.result()
                done = True
            except BrokenProcessPool:
                self._replace()

    def _replace(self) -> None:
        """New processes for killed ones."""
        self.deaths += 1
        if self.deaths > MOST_DEATHS:
            raise QnasError(
                f"Processes of this run were killed {self.deaths} times, perhaps for lack of memory; the same command "
                "continues it, with fewer --workers if memory is short."
            )
        assert self.executor is not None
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.start()

    def _kept(self, result: dict[str, Any]) -> dict[str, Any]:
        self.ledger.add(result)
        return result
