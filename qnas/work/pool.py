"""Several processes that do pieces of work, each result written into a ledger as it comes."""

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Any, Generic, TypeVar

from qnas.errors import QnasError
from qnas.work.ledger import Ledger, Result, Work

WAIT = 0.5
"""Seconds between looks at what other hosts have done."""
WATCH = 1.0
"""Seconds between looks at work that is being done."""
Piece = TypeVar("Piece", bound=Work)


class Pool(Generic[Piece]):
    """Does work in several processes, or in this one; use it as a context.

    Processes that were killed are replaced, and what they were doing is done again. They end with the process that
    started them, however that ends, and at once where the context ends in an error. Ctrl-C is for that process alone.

    Args:
        do: does one piece of work; a function of some module, so that processes find it.
        ledger: of the results.
        workers: how many processes; 1 for this one alone.
        begin: what each new process does first; found likewise.
        most_deaths: how often killed processes are replaced before the run gives up.
    """

    def __init__(
        self,
        do: Callable[[Piece], Result],
        ledger: Ledger,
        workers: int = 1,
        begin: Callable[[], object] | None = None,
        most_deaths: int = 5,
    ) -> None:
        self.do, self.ledger, self.workers, self.begin = do, ledger, workers, begin
        self.deaths, self.most_deaths = 0, most_deaths
        self.executor: ProcessPoolExecutor | None = None
        if workers > 1:
            self.start()

    def start(self) -> None:
        """Start the processes, or start them anew; they live until ``held`` closes."""
        context = multiprocessing.get_context("spawn")
        watched, self.held = context.Pipe(duplex=False)
        self.executor = ProcessPoolExecutor(self.workers, context, initializer=_begin, initargs=(self.begin, watched))

    def __enter__(self) -> "Pool[Piece]":
        return self

    def __exit__(self, *error: object) -> None:
        if self.executor is not None:
            if error[0] is not None:
                self.held.close()
            self.executor.shutdown(cancel_futures=True)
            self.held.close()

    def _submit(self, task: Callable[..., Any], *arguments: object) -> Future[Any]:
        """Hand a task to the processes; those that this starts are deaf to Ctrl-C from their first moment."""
        assert self.executor is not None  # who has no processes does the task itself
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return self.executor.submit(task, *arguments)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def run(self, pieces: list[Piece], watch: Callable[[], None] = lambda: None) -> Iterator[tuple[Piece, Result]]:
        """Each piece with its result, as they end.

        Args:
            pieces: of work.
            watch: called every second while work is being done; where this process does it itself, by another thread.

        Raises:
            QnasError: processes are killed again and again.
        """
        todo = list(pieces)
        running: dict[Future[Result], Piece] = {}
        while todo or running:
            later = []
            for piece in todo:
                if self.ledger.has(piece):
                    yield piece, self.ledger.results[piece.name]
                elif len(running) == self.workers or not self.ledger.claim(piece):
                    later.append(piece)
                elif self.executor is None:
                    with _called_meanwhile(watch):
                        result = self.do(piece)
                    yield piece, self._kept(result)
                else:
                    try:
                        running[self._submit(self.do, piece)] = piece
                    except BrokenProcessPool:
                        later.append(piece)
                        if not running:
                            self._replace()
            todo = later
            if not running:
                time.sleep(WAIT if todo else 0)
            if todo or running:
                watch()
            for future in wait(running, timeout=WATCH, return_when=FIRST_COMPLETED).done:
                piece = running.pop(future)
                try:
                    yield piece, self._kept(future.result())
                except BrokenProcessPool:
                    self._replace()
                    todo += [piece, *running.values()]
                    running.clear()
                    break

    def everywhere(
        self, task: Callable[..., Any], arguments: Callable[[], tuple[Any, ...]], watch: Callable[[], None]
    ) -> None:
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
            given = arguments()
            try:
                waiting = {self._submit(task, *given) for _ in range(self.workers)}
                while waiting:
                    ended, waiting = wait(waiting, timeout=WATCH, return_when=FIRST_COMPLETED)
                    watch()
                    for future in ended:
                        future.result()
                done = True
            except BrokenProcessPool:
                self._replace()

    def _replace(self) -> None:
        """New processes for killed ones."""
        self.deaths += 1
        if self.deaths > self.most_deaths:
            raise QnasError(
                f"Processes of this run were killed {self.deaths} times, perhaps for lack of memory; the same command "
                "continues it, with fewer `workers` if memory is short."
            )
        assert self.executor is not None
        self.held.close()
        self.executor.shutdown(wait=False, cancel_futures=True)
        self.start()

    def _kept(self, result: Result) -> Result:
        self.ledger.add(result)
        return result


@contextmanager
def _called_meanwhile(watch: Callable[[], None]) -> Iterator[None]:
    """Have a thread of its own call something every second while this one is busy inside the block.

    Raises:
        Exception: what the call has raised, when the block ends.
    """
    ended, raised = threading.Event(), list[Exception]()

    def call() -> None:
        while not ended.wait(WATCH):
            try:
                watch()
            except Exception as error:  # it is raised where somebody waits
                raised.append(error)
                return

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    if raised:
        raise raised[0]


def _begin(begin: Callable[[], object] | None, watched: Connection) -> None:
    """What each process does first: it watches the one that started it."""
    threading.Thread(target=_end_with, args=(watched,), daemon=True).start()
    if begin is not None:
        begin()


def _end_with(watched: Connection) -> None:
    """Wait until the other end of a pipe closes, which nobody writes to, then end at once."""
    watched.poll(None)
    os._exit(1)
