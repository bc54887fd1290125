"""Progress on stderr: a bar with the time left on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LINE_EVERY = 15.0
console = Console(stderr=True)


class Bar:
    """One piece of long work, advanced by shares of 0 to 1."""

    def __init__(self, title: str, progress: Progress | None) -> None:
        self.title, self.progress = title, progress
        self.told, self.share = time.monotonic(), 0.0
        self.task = progress.add_task(title, total=1.0) if progress else None

    def update(self, share: float, remark: str = "") -> None:
        """Show that ``share`` of the work is done."""
        if self.progress is not None and self.task is not None:
            self.progress.update(self.task, completed=share, description=f"{self.title}  {remark}")
        elif not console.quiet and (passed := time.monotonic() - self.told) > LINE_EVERY and share > self.share:
            left = passed * (1 - share) / (share - self.share)
            self.told, self.share = self.told + passed, share
            print(f"{self.title}: {share:.0%}, about {left:.0f} s left  {remark}", file=sys.stderr, flush=True)


def silence() -> None:
    """Say nothing from here on: for all processes of a group but the first."""
    console.quiet = True


@contextmanager
def bar(title: str) -> Iterator[Bar]:
    """A progress bar for the work inside the block."""
    if not console.is_terminal:
        yield Bar(title, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        yield Bar(title, progress)


def say(text: str) -> None:
    """A remark to the user, on stderr."""
    console.print(text, highlight=False, soft_wrap=True)
