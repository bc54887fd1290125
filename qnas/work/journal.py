"""A file as the log of an Optuna ``JournalStorage``, shared by the processes of one host.

Unlike Optuna's own, it can be opened again after a kill in the middle of a line, its lock dies with its owner, and it
leaves the moment of writing to the operating system, which a killed process, though not a power cut, survives.

Earlier versions wrote genes as parameters: their choices once, with the first trial, named by their hash after that,
and the chosen values then without names. Such logs are read too.
"""

import json
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend

from qnas.digest import digest_of
from qnas.errors import QnasError
from qnas.runs.reading import check_file, parse_row

log = logging.getLogger("qnas")
MOST_BYTES = 1 << 28
"""Of a journal, when it is opened: of some hundred thousand trials."""
CHOICES, CHOSEN = "distributions", "params"
"""What Optuna calls a trial's choices, a table of texts, and what was chosen, numbers under the same names."""


class JournalFile(BaseJournalBackend):
    """JSON lines; a last line that a kill cut off is not read, and is removed, and said, before the next is written.

    Args:
        path: of the file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(f"{path}.lock")
        path.touch()
        try:
            check_file(path, MOST_BYTES)
        except ValueError as error:
            raise self._unreadable(str(error)) from error
        self.number = self.position = 0
        self.known: dict[str, dict[str, str]] = {}

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The logs from a number on.

        Raises:
            QnasError: a line is damaged; it is named by its number.
        """
        if log_number_from != self.number:
            self.number = self.position = 0
        with self.path.open("rb") as file:
            file.seek(self.position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.number, self.position = self.number + 1, self.position + len(line)
                if CHOICES.encode() in line or self.number > log_number_from:
                    found = self._read(line)
                    if self.number > log_number_from:
                        yield found

    def _read(self, line: bytes) -> dict[str, Any]:
        """A log in full, whose choices are remembered."""
        try:
            found = parse_row(line, self.number)
            if isinstance(name := found.get(CHOICES), str):
                choices = self.known[name]
                found |= {CHOICES: choices, CHOSEN: dict(zip(choices, found[CHOSEN], strict=True))}
            elif name:
                self.known.setdefault(digest_of(name), name)
        except (ValueError, LookupError, TypeError) as error:
            reason = f"line {self.number} lacks {error}" if isinstance(error, LookupError) else str(error)
            raise self._unreadable(reason) from error
        return found

    def _unreadable(self, reason: str) -> QnasError:
        return QnasError(
            f"{self.path} cannot be read as a journal of trials ({reason}); delete it, and the same command screens "
            "again."
        )

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add logs at the end."""
        text = "".join(json.dumps(one, separators=(",", ":")) + "\n" for one in logs).encode()
        with self.lock, self.path.open("r+b") as file:
            file.seek(max(0, file.seek(0, 2) - 1))
            if file.read(1) not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
                log.info("Dropped the last line of %s, which was cut off.", self.path)
            file.seek(0, 2)
            file.write(text)
