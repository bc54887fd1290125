"""Pieces of work that fail by themselves, such as a network that no memory holds: a run notes it and goes on."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

from qnas.errors import QnasError

log = logging.getLogger("qnas")
MOST_FAILED = 10
"""Failures in a row at which a run stops."""
OUT_OF_MEMORY = re.compile("out of memory|(can't|cannot) allocate memory|not enough memory", re.IGNORECASE)


class Failed(Exception):  # noqa: N818  # what is caught to be written down, never shown as an error
    """Why one piece of work fails, while others need not."""


@contextmanager
def memory_may_lack() -> Iterator[None]:
    """Turn a lack of memory inside the block, of the processor's or of a device's, into a failure.

    Raises:
        Failed: memory lacked.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, MemoryError) and not OUT_OF_MEMORY.search(str(error)):
            raise
        raise Failed("out of memory") from error


class Failures:
    """Says which pieces of work failed, and stops a run where too many do in a row."""

    def __init__(self) -> None:
        self.in_a_row = 0

    def note(self, name: str, reason: str) -> None:
        """Take an outcome.

        Args:
            name: of the piece of work.
            reason: why it failed; empty if it did not.

        Raises:
            QnasError: ``MOST_FAILED`` in a row have failed.
        """
        self.in_a_row = self.in_a_row + 1 if reason else 0
        if reason:
            log.warning("%s failed (%s); the run goes on without it.", name, reason)
        if self.in_a_row == MOST_FAILED:
            raise QnasError(
                f"A run goes on without what fails, but {MOST_FAILED} networks in a row did, the last one {name} "
                f"({reason}); the same command tries again, with fewer `workers` if memory is short, else begin "
                "another run with a lower rate in its `recipe`."
            )
