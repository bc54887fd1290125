"""How long work tells how far it is: a callback that is given the name of the stage, a share and a remark."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

T = TypeVar("T")
log = logging.getLogger("qnas")

Report = Callable[[float, str], None]
"""Told the share of a stage that is done, 0 to 1, and a remark."""
Progress = Callable[[str, float, str], None]
"""Told the name of a stage, the share of it that is done, 0 to 1, and a remark."""
Watch = Callable[[list[dict[str, Any]]], None]
"""Told what is best so far, the best first, each as plain values by their names."""


def silent(stage: str, share: float, remark: str) -> None:
    """Show nothing."""


def unwatched(rows: list[dict[str, Any]]) -> None:
    """Show nothing."""


def stage(progress: Progress, name: str) -> Report:
    """What one stage reports to."""

    def report(share: float, remark: str = "") -> None:
        progress(name, share, remark)

    return report


def counted(items: Iterable[T], count: int, verb: str, every: float = 10.0) -> Iterator[T]:
    """The same items; who waits for them is told, every so many seconds, how far they are and how long the rest takes.

    Args:
        items: that take long to come by.
        count: how many there are.
        verb: what becomes of them, such as ``Read``.
        every: seconds between remarks.
    """
    began = said = time.monotonic()
    for number, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - said > every and number < count:
            said, left = now, (now - began) * (count - number) / number
            log.info("%s %d of %d images, about %.0f s left.", verb, number, count, left)
