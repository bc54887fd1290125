"""What pieces of work have given, written down as it comes, so that none is done twice.

A piece of work has a name that tells it from all others of a run, and may leave a file. Its result is a table of plain
values that repeats the name under ``job``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from qnas.runs.files import append_row, read_rows
from qnas.runs.reading import expect, reading
from qnas.work.queue import WorkQueue, payload_of

Result = dict[str, Any]


class Work(Protocol):
    """A piece of work, described by plain values, so that it can travel and be recognised after a kill."""

    @property
    def name(self) -> str:
        """What tells it from all others of a run."""

    @property
    def output(self) -> str:
        """The file that it leaves; empty if none."""


class Ledger:
    """The results of a run's work: one JSON line each; what ``failed``, a reason, is tried again by the next one.

    Args:
        path: of the file.

    Raises:
        QnasError: the file is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with reading(path, "a ledger of results", "delete it, and the same command does its work again"):
            rows = read_rows(path)
            for number, row in enumerate(rows, 1):
                expect(row, {"job": str}, f"line {number}")
            self.results: dict[str, Result] = {row["job"]: row for row in rows if "failed" not in row}

    def has(self, piece: Work) -> bool:
        """Whether a piece needs no more work."""
        return piece.name in self.results and (not piece.output or Path(piece.output).is_file())

    def claim(self, piece: Work) -> bool:
        """Whether this process should do a piece: it does all there are."""
        return True

    def add(self, result: Result) -> None:
        """Write a result down."""
        self.results[result["job"]] = result
        append_row(self.path, result)


class SharedLedger(Ledger):
    """A ledger that shares its work out with other hosts, but for what leaves a file, which each host needs.

    All hosts go by the same results: what failed on one of them has failed for all, and is not tried again.

    Args:
        path: of this host's own lines.
        queue: of the others' results.
        value: the number that the queue's storage shows of a result.
    """

    def __init__(self, path: Path, queue: WorkQueue, value: Callable[[Result], float]) -> None:
        super().__init__(path)
        self.queue, self.value = queue, value
        self.claimed: dict[str, int] = {}

    def has(self, piece: Work) -> bool:
        """Whether a piece needs no more work here, looking at what others have done."""
        if not piece.output and piece.name not in self.results and piece.name in self.queue.done:
            self.results[piece.name] = payload_of(self.queue.done[piece.name])["result"]
        return super().has(piece)

    def claim(self, piece: Work) -> bool:
        """Take a piece, unless another host is at it or has just done it."""
        if piece.output or piece.name in self.claimed:  # by a process of this host that was killed
            return True
        number = self.queue.claim(piece.name)
        if number is not None:
            self.claimed[piece.name] = number
        return number is not None

    def add(self, result: Result) -> None:
        """Write a result down, and show it to the others."""
        super().add(result)
        number = self.claimed.pop(result["job"], None)
        if number is not None:
            self.queue.finish(number, [self.value(result)], result=result)
