"""Progress, remarks and errors, all on stderr: a bar a stage where there is a terminal, plain lines elsewhere."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Column, Table

from qnas.cli.errors import in_options
from qnas.errors import printable_lines

LINE_EVERY = 15.0
AT_ONCE = 1.0  # seconds; what is done so soon after a stage began was done before
NARROW = 72
"""Columns of a window below which progress is told in words alone."""
GOES_ON = "The same command goes on with it."
console = Console(stderr=True)


class Lines:
    """The stages of a command as lines with an estimate, one every now and then."""

    def __init__(self) -> None:
        self.stage, self.entered = "", 0.0
        self.began, self.share, self.said = 0.0, 0.0, 0.0  # when and where what is done now began; the last line

    def __call__(self, stage: str, share: float, remark: str) -> None:
        """See ``qnas.runs.progress.Progress``."""
        now = time.monotonic()
        if stage != self.stage:
            self.stage, self.entered = stage, now
        if now - self.entered < AT_ONCE:
            self.began, self.share, self.said = now, share, now
        elif now - self.said > LINE_EVERY and share > self.share:
            left = (now - self.began) * (1 - share) / (share - self.share)
            self.said = now
            print(f"{stage}: {share:.0%}, about {left:.0f} s left  {remark}", file=sys.stderr, flush=True)
        elif now - self.said > 2 * LINE_EVERY:
            self.said = now
            print(f"{stage}: {share:.0%}  {remark}", file=sys.stderr, flush=True)

    def watch(self, rows: list[dict[str, Any]]) -> None:
        """Lines have no room for more than the best, which their remarks tell."""


class BarsAndTable(Progress):
    """Bars, and below them a table where there is one."""

    table: Table | None = None

    def get_renderables(self) -> Iterable[RenderableType]:
        """See ``rich.progress.Progress``."""
        yield from super().get_renderables()
        if self.table:
            yield self.table


class Bars:
    """The stages of a command as bars, one below the other, and below them what is best so far.

    Args:
        progress: that shows them.
    """

    def __init__(self, progress: BarsAndTable) -> None:
        self.progress = progress
        self.tasks: dict[str, TaskID] = {}
        self.entered: dict[str, float] = {}

    def __call__(self, stage: str, share: float, remark: str) -> None:
        """See ``qnas.runs.progress.Progress``."""
        if stage not in self.tasks:
            self.tasks[stage], self.entered[stage] = self.progress.add_task(stage, total=1.0), time.monotonic()
        if time.monotonic() - self.entered[stage] < AT_ONCE:
            self.progress.reset(self.tasks[stage])
        self.progress.update(self.tasks[stage], completed=share, description=f"{stage}  {remark}")

    def watch(self, rows: list[dict[str, Any]]) -> None:
        """See ``qnas.runs.progress.Watch``."""
        from qnas.reports.search import leaders_table
        from qnas.reports.tables import narrowed

        self.progress.table = narrowed(leaders_table(rows), self.progress.console.width)


def columns_of(width: int) -> list[ProgressColumn]:
    """What a line of progress has in a window of so many columns: words are cut before its share and times are."""
    bar = max(8, min(40, width - NARROW)) if width >= NARROW else 0
    between: list[ProgressColumn] = [BarColumn(bar), TimeElapsedColumn()] if bar else []
    taken = sum(1 + each for each in (4, 7, *((bar, 7) if bar else ())))
    description = TextColumn(
        "{task.description}", markup=False, table_column=Column(max_width=width - taken, no_wrap=True)
    )
    return [description, *between[:1], TaskProgressColumn(), *between[1:], TimeRemainingColumn()]


@contextmanager
def shown(stopped: str = "") -> Iterator[Lines | Bars]:
    """Show the progress of the work inside the block, and what it has to say.

    Args:
        stopped: what is said where the user stops the work.
    """
    handler = _Saying()
    logger = logging.getLogger("qnas")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        if not console.is_terminal:
            yield Lines()
            return
        with BarsAndTable(*columns_of(console.width), console=console) as progress:
            yield Bars(progress)
            progress.table = None  # the result has it, and more
    except KeyboardInterrupt:
        say(f"Stopped. {stopped}".strip())
        raise
    finally:
        logger.removeHandler(handler)


class _Saying(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        say(in_options(record.getMessage()))


def say(text: str) -> None:
    """A remark to the user, on stderr; of a group of processes only the first one's."""
    from qnas.distributed import is_first

    if is_first():
        console.print(printable_lines(text), highlight=False, soft_wrap=True, markup=False)
