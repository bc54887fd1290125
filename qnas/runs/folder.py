"""A run folder: what it was begun with, and that the same command continues it while all others are refused."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

import qnas
from qnas.errors import QnasError
from qnas.runs.files import PART, write_json
from qnas.runs.identity import PLACE, refuse_changes
from qnas.runs.reading import Shape, expect, read_json, reading

RUN, LOCK = "run.json", "run.lock"
LOCKS = Path("/proc/locks")
"""What Linux tells of locks."""


def open_run(
    identity: dict[str, Any],
    folder: Path,
    versions: dict[str, str],
) -> None:
    """Make the run folder, or check that it belongs to the same settings; where its images lie now is noted.

    Args:
        identity: plain values that must be the same for a run to go on.
        folder: of the run.
        versions: of what else decides its results; noted, not compared.

    Raises:
        QnasError: it is of other settings, or no run folder at all.
    """
    path = folder / RUN
    if path.is_file():
        run = read_run(folder)
        refuse_changes(run["settings"], identity, folder)
        if run["settings"].get(PLACE) != identity.get(PLACE):
            write_json(path, {**run, "settings": {**run["settings"], PLACE: identity[PLACE]}})
    elif folder.is_dir() and any(one.name != RUN + PART for one in folder.iterdir()):  # a kill may leave that
        raise QnasError(f"A run folder holds {RUN}, but {folder} holds other files; name another `out`.")
    else:
        try:
            write_json(path, {"qnas": qnas.__version__, **versions, "settings": identity})
        except OSError as error:
            raise QnasError(f"A run needs a folder, but {folder} is none ({error}); name another `out`.") from error


def read_run(folder: Path, shape: dict[str, Shape] | None = None) -> dict[str, Any]:
    """What ``open_run`` wrote.

    Args:
        folder: of the run.
        shape: of its settings (``qnas.runs.reading.expect``), where that counts.

    Raises:
        QnasError: the file is missing or damaged.
    """
    remedy = "name the folder of a run, or another `out`"
    run = read_json(folder / RUN, "a run's settings", remedy)
    if not isinstance(run.get("settings"), dict):
        raise QnasError(f"{folder / RUN} holds no settings; {remedy}.")
    with reading(folder / RUN, "a run's settings", remedy):
        expect(run["settings"], shape or {})
    return run


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Keep other processes out of a run folder for the work inside the block.

    Raises:
        QnasError: one is at work there.
    """
    try:
        with FileLock(folder / LOCK, timeout=0):
            yield
    except Timeout as error:
        raise QnasError(
            f"One run at a time works in a folder, and {_holder(folder / LOCK)} does in {folder}; wait for it."
        ) from error


def _holder(lock: Path) -> str:
    """Who holds a lock, where the system tells: its file of locks names process and inode of each."""
    with suppress(OSError, ValueError):
        inode, holders = str(lock.stat().st_ino), list[int]()
        for line in LOCKS.read_text(encoding="utf-8").splitlines():
            *_, process, place, _, _ = line.split()
            holders += [int(process)] if place.split(":")[-1] == inode else []
        if len(holders) == 1 and holders[0] > 0:  # of several, one may be of another file system
            return f"process {holders[0]}"
    return "one"
