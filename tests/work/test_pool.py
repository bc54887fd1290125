"""Processes that are killed: what they were doing is done again, and a run whose processes die without end gives up."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.work.ledger import Ledger, Result, SharedLedger, Work
from qnas.work.pool import WATCH, Pool
from qnas.work.queue import StudyAddress, WorkQueue


@dataclass(frozen=True)
class Deadly:
    """A piece of work that kills its process, ``deaths`` times in all; ``marker`` names where that is noted."""

    number: int
    marker: str
    deaths: int = 0
    pause: float = 0.0
    output: str = ""

    @property
    def name(self) -> str:
        return f"piece {self.number}"


def do_deadly(piece: Deadly) -> Result:
    time.sleep(piece.pause)
    for death in range(piece.deaths):
        marker = Path(f"{piece.marker}{death}")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"job": piece.name, "top1": float(piece.number)}


def deadly(tmp_path: Path, number: int, deaths: int, pause: float = 0.0) -> Deadly:
    return Deadly(number, str(tmp_path / "killed"), deaths, pause)


def run_all(pool: Pool[Deadly], wanted: list[Deadly]) -> dict[str, float]:
    with pool:
        return {piece.name: result["top1"] for piece, result in pool.run(wanted)}


class Impatient(SharedLedger):
    """A shared ledger that does not let a piece be refused without end."""

    refused = 0

    def claim(self, piece: Work) -> bool:
        claimed = super().claim(piece)
        self.refused += not claimed
        assert self.refused < 20, "a piece is never taken up again"
        return claimed


def test_who_does_the_work_itself_is_told_of_long_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnas.work.pool.WATCH", WATCH / 100)
    calls = list[float]()
    with Pool(do_deadly, Ledger(tmp_path / "ledger.jsonl")) as pool:
        watched = pool.run([deadly(tmp_path, 1, 0, pause=20 * WATCH / 100)], lambda: calls.append(time.monotonic()))
        ((_, result),) = watched
    assert result["top1"] == 1.0
    assert 5 < len(calls) < 25
    during = list(calls)
    time.sleep(5 * WATCH / 100)
    assert calls == during  # nobody calls afterwards


def test_what_looking_on_raises_is_raised_where_the_work_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qnas.work.pool.WATCH", 0.01)

    def look() -> None:
        raise RuntimeError("nobody looks")

    with Pool(do_deadly, Ledger(tmp_path / "ledger.jsonl")) as pool, pytest.raises(RuntimeError, match="nobody looks"):
        list(pool.run([deadly(tmp_path, 1, 0, pause=0.2)], look))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["own", "shared"])
def test_what_a_killed_process_was_doing_is_done_again(tmp_path: Path, kind: str) -> None:
    ledger = Ledger(tmp_path / "ledger")
    if kind == "shared":
        queue = WorkQueue(StudyAddress(str(tmp_path / "journal"), "training", "run"))
        ledger = Impatient(tmp_path / "ledger", queue, lambda result: result["top1"])
    wanted = [deadly(tmp_path, number, deaths=number == 2) for number in range(1, 6)]
    found = run_all(Pool(do_deadly, ledger, workers=2), wanted)
    assert found == {piece.name: float(piece.number) for piece in wanted}
    assert (tmp_path / "killed0").exists()


@pytest.mark.slow
def test_a_process_killed_while_nobody_waits_for_it_is_replaced(tmp_path: Path) -> None:
    wanted = [deadly(tmp_path, number, deaths=number == 2, pause=number == 2) for number in range(1, 4)]
    found = []
    with Pool(do_deadly, Ledger(tmp_path / "ledger"), workers=2) as pool:
        for piece, _ in pool.run(wanted):
            found.append(piece.number)
            time.sleep(3)
    assert sorted(found) == [1, 2, 3]


@pytest.mark.slow
def test_processes_that_are_killed_again_and_again_end_the_run(tmp_path: Path) -> None:
    pool = Pool(do_deadly, Ledger(tmp_path / "ledger"), workers=2, most_deaths=1)
    with pytest.raises(
        QnasError, match=r"were killed 2 times, .*; the same command continues it, with fewer `workers`"
    ):
        run_all(pool, [deadly(tmp_path, 1, deaths=9)])


def note(folder: str, turn: int) -> None:
    """A task that kills its process in the first turn."""
    if turn == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    (Path(folder) / f"{turn} {os.getpid()}").touch()
    time.sleep(1)  # so that the other process has its turn


@pytest.mark.slow
def test_a_task_is_done_in_every_process_and_begun_anew_when_one_was_killed(tmp_path: Path) -> None:
    folder, turns, looks = tmp_path / "notes", count(), []
    folder.mkdir()
    with Pool(do_deadly, Ledger(tmp_path / "ledger"), workers=2) as pool:
        pool.everywhere(note, lambda: (str(folder), next(turns)), lambda: looks.append(0))
    names = [path.name.split() for path in folder.iterdir()]
    assert [turn for turn, _ in names] == ["1", "1"]
    assert len({process for _, process in names}) == 2
    assert next(turns) == 2
    assert looks


def kill(*anything: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_task_whose_processes_are_killed_again_and_again_ends_the_run(tmp_path: Path) -> None:
    pool = Pool(do_deadly, Ledger(tmp_path / "ledger"), workers=2, most_deaths=1)
    with pytest.raises(QnasError, match="were killed 2 times"), pool:
        pool.everywhere(kill, lambda: (), lambda: None)


begun: list[int] = []


def begin() -> None:
    begun.append(os.getpid())


def how_often_begun(piece: Deadly) -> Result:
    return {"job": piece.name, "top1": float(begun.count(os.getpid()))}


@pytest.mark.slow
def test_each_process_begins_as_it_is_told(tmp_path: Path) -> None:
    wanted = [deadly(tmp_path, number, deaths=0) for number in range(1, 4)]
    with Pool(how_often_begun, Ledger(tmp_path / "ledger"), workers=2, begin=begin) as pool:
        assert [result["top1"] for _, result in pool.run(wanted)] == [1, 1, 1]


ORPHANS = """
import os, sys, time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from qnas.work.ledger import Ledger
from qnas.work.pool import Pool

@dataclass(frozen=True)
class Piece:
    name: str
    folder: str
    output: str = ""

def do(piece):
    Path(piece.folder, f"{os.getpid()}.pid").touch()
    time.sleep(300)

if __name__ == "__main__":
    with suppress(KeyboardInterrupt), Pool(do, Ledger(Path(sys.argv[1], "ledger")), workers=2) as pool:
        list(pool.run([Piece(name, sys.argv[1]) for name in "ab"]))
"""


def is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def workers_of(parent: int) -> list[int]:
    """The processes that a pool of this one has started, whatever they are at."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            mother = int((path / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])
            if mother == parent and b"spawn_main" in (path / "cmdline").read_bytes():
                found.append(int(path.name))
    return found


def in_time(true: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.1)
    return true()


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(ORPHANS, encoding="utf-8")
    with subprocess.Popen([sys.executable, str(tmp_path / "script.py"), str(tmp_path)]) as parent:
        assert in_time(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 120)
        workers = [int(path.stem) for path in tmp_path.glob("*.pid")]
        assert all(map(is_alive, workers))
        parent.kill()
    assert in_time(lambda: not any(map(is_alive, workers)), 20)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")
@pytest.mark.parametrize("at_work", [False, True])
def test_ctrl_c_ends_processes_without_a_word_even_while_they_begin(tmp_path: Path, at_work: bool) -> None:
    (tmp_path / "script.py").write_text(ORPHANS, encoding="utf-8")
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert in_time(lambda: len(workers_of(parent.pid)) == 2, 120)
        assert not at_work or in_time(lambda: len(list(tmp_path.glob("*.pid"))) == 2, 120)
        workers = workers_of(parent.pid)
        os.killpg(parent.pid, signal.SIGINT)  # as a terminal does
        _, said = parent.communicate(timeout=60)
    assert (parent.returncode, said) == (0, "")
    assert in_time(lambda: not any(map(is_alive, workers)), 20)
