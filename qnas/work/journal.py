"""A file as the log of an Optuna ``JournalStorage``, shared by the processes of one host.

Unlike Optuna's own, it can be opened again after a kill in the middle of a line, its lock dies with its owner, and it
leaves the moment of writing to the operating system, which a killed process, though not a power cut, survives.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from filelock import FileLock
from optuna.storages.journal import BaseJournalBackend


class JournalFile(BaseJournalBackend):
    """JSON lines; a last line that a kill cut off is not read, and is removed before the next is written.

    Args:
        path: of the file, made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        self.path, self.lock = path, FileLock(f"{path}.lock")
        path.touch()
        self.number = self.position = 0

    def read_logs(self, log_number_from: int) -> Iterable[dict[str, Any]]:
        """The logs from a number on."""
        if log_number_from != self.number:
            self.number = self.position = 0
        with self.path.open("rb") as file:
            file.seek(self.position)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self.number, self.position = self.number + 1, self.position + len(line)
                if self.number > log_number_from:
                    yield json.loads(line)

    def append_logs(self, logs: list[dict[str, Any]]) -> None:
        """Add logs at the end."""
        text = "".join(json.dumps(log, separators=(",", ":")) + "\n" for log in logs).encode()
        with self.lock, self.path.open("r+b") as file:
            file.seek(max(0, file.seek(0, 2) - 1))
            if file.read(1) not in (b"", b"\n"):
                file.seek(0)
                file.truncate(file.read().rfind(b"\n") + 1)
            file.seek(0, 2)
            file.write(text)
