"""Long commands, killed and stopped again and again: the same command goes on, and ends as if it had not been.

The processes are real ones. They are forked from one that has imported the package, since imports would take most of
their time, and have a clock that runs fast, so that states are saved often.
"""

import gzip
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

MOMENTS, SEED = int(os.environ.get("QNAS_KILLS", "3")), int(os.environ.get("QNAS_SEED", "0"))
"""SIGKILLs for each command, and for three of them one of ``OTHERS``; more with ``just soak``."""
OTHERS = ((signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGINT))
FIRST, LOOK = 0.1, 0.004
"""Seconds after which the earliest signal is sent, and between two looks at a folder."""
ENDS = {0, 130, -signal.SIGINT, -signal.SIGTERM, -signal.SIGKILL}
"""How a command ends that signals may hit, or come too late for."""
NOBODY = 65534
OPEN = all(folder.stat().st_mode & 1 for folder in Path(os.__file__).resolve().parents)
"""Whether another user may read the standard library."""
NURSERY = """
import json, os, resource, sys, time
import matplotlib.pyplot, onnx, optuna, scipy.stats, sklearn.ensemble, sklearn.gaussian_process, torch_geometric
import qnas.nas.rungs, qnas.studies.ghn_tables, qnas.training.fit_ghn, qnas.training.jobs  # but no onnxruntime: it has
from qnas.cli.main import main  # a thread, which a fork would lack

clock = time.monotonic
for line in sys.stdin:
    words, errors, most, user = json.loads(line)
    child = os.fork()
    if child == 0:
        time.monotonic = lambda: 500 * clock()
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 1)
        os.dup2(1, 2)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, -1))
        if user:
            os.setuid(user)
        sys.argv = ["qnas", *words]
        main()
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


class Ended(NamedTuple):
    """How a command ended: its code, what it printed, its seconds, and how often its folder was seen to change."""

    code: int
    text: str
    seconds: float
    changes: int


class Moment(NamedTuple):
    """When signals are sent: after so many seconds, or once the folder was seen to change so often."""

    signals: tuple[signal.Signals, ...] = ()
    seconds: float = float("inf")
    changes: int = sys.maxsize


NEVER = Moment()


class Nursery:
    """Starts commands, each a process of its own, one at a time."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self.parent = subprocess.Popen(
            [sys.executable, "-c", NURSERY],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,  # what select does not see is not there
        )

    def run(self, words: list[str], folder: Path, moment: Moment = NEVER, most: int = -1, user: int = 0) -> Ended:
        """Run a command that writes into a folder; no file may have more than ``most`` bytes, where that is given."""
        assert self.parent.stdin
        assert self.parent.stdout
        self.parent.stdin.write(json.dumps([words, str(self.errors), most, user]).encode() + b"\n")
        child, started = int(self.parent.stdout.readline()), time.monotonic()
        changes, before, left = 0, seen(folder), list(moment.signals)
        while not select.select([self.parent.stdout], [], [], LOOK)[0]:
            changes, before = changes + ((now := seen(folder)) != before), now
            if left and (time.monotonic() - started > moment.seconds or changes >= moment.changes):
                os.kill(child, left.pop(0))
        code = self.parent.stdout.readline()
        text = self.errors.read_text(encoding="utf-8")
        return Ended(int(code), text, time.monotonic() - started, changes)

    def close(self) -> None:
        """Let the process end that the commands are forked from."""
        self.parent.communicate()


def seen(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every file of a folder."""
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                state = os.stat(f"{place}/{name}")
            except FileNotFoundError:
                continue
            found[f"{place}/{name}"] = state.st_size, state.st_mtime_ns
    return found


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    made = Nursery(tmp_path_factory.mktemp("nursery") / "errors")
    yield made
    made.close()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Path(place)


COMMANDS = {
    "search": "search --data digits --trials 4 --steps 8 --top 1 --workers 1 --max-params 12000",
    "train": "train resnet8 --width 4 --data digits --bits w4a4 --steps 30",
    "fit-ghn": "fit-ghn --data digits --steps 52 --meta-batch 1 --batch 8",
    "study table": "study table --data digits --networks 1 --bits w4a4 --seeds 1 --steps 4 --workers 1",
    "study init": "study init --data digits --blocks regular_conv_no_bn --initializers he_normal --width 4 --workers 1",
    "export": "export {run} --profile unpacked",
}


class Commands:
    """The commands, each as it ends if nothing disturbs it.

    Args:
        nursery: starts them.
        place: of their folders.
    """

    def __init__(self, nursery: Nursery, place: Path) -> None:
        self.nursery, self.place, self.known = nursery, place, dict[str, Ended]()

    def words(self, command: str, folder: Path) -> list[str]:
        """A command as it is typed to begin, or to go on."""
        found = self.folder("search") if command == "export" else ""
        words = [word.format(run=found) for word in COMMANDS[command].split()]
        resume = ["--resume"] if command == "fit-ghn" and (folder / "state.safetensors").exists() else []
        return [*words, "--out", str(folder), *resume]

    def run(self, command: str, folder: Path, moment: Moment = NEVER, most: int = -1, user: int = 0) -> Ended:
        """Begin a command, or go on with it (``Nursery.run``)."""
        return self.nursery.run(self.words(command, folder), folder, moment, most, user)

    def usual(self, command: str) -> Ended:
        """How it ends."""
        if command not in self.known:
            folder = self.place / command
            self.known[command] = self.run(command, folder)
            assert self.known[command].code == 0, self.known[command].text
        return self.known[command]

    def folder(self, command: str) -> Path:
        """What it leaves."""
        self.usual(command)
        return self.place / command


@pytest.fixture(scope="module")
def commands(nursery: Nursery) -> Iterator[Commands]:
    """In a folder that every user can reach."""
    with TemporaryDirectory() as place:
        os.chmod(place, 0o755)
        yield Commands(nursery, Path(place))


def facts(folder: Path) -> dict[str, Any]:
    """What must be the same, by file: all but times, locks, pictures, which say when they were drawn, and a journal."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.suffix not in (".lock", ".svg") and path.name != "trials.journal":
            found[str(path.relative_to(folder))] = READ.get(path.name, bytes)(path.read_bytes())
    return found


def rows(content: bytes) -> list[dict[str, Any]]:
    return [json.loads(line) for line in content.splitlines()]


def results(content: bytes) -> dict[str, Any]:
    """A ledger's, without how long they took."""
    return {row["job"]: {**row, "seconds": 0} for row in rows(content)}


def table(content: bytes) -> list[dict[str, Any]]:
    """A benchmark table's, without how long its runs took."""
    return [
        {**row, "runs": [{**run, "seconds": 0} for run in row.get("runs", [])]}
        for row in rows(gzip.decompress(content))
    ]


def card(content: bytes) -> dict[str, Any]:
    """Of a checkpoint, without how long it took."""
    found: dict[str, Any] = json.loads(content)
    return {**found, "counters": {**found["counters"], "seconds": 0}}


def tensors(content: bytes) -> bytes:
    """Of a safetensors file whose header has times."""
    return content[8 + int.from_bytes(content[:8], "little") :]


def metrics(content: bytes) -> list[tuple[int, float]]:
    """Steps and rates; losses are means over the steps since a run went on."""
    return [(row["step"], row["rate"]) for row in rows(content)]


READ: dict[str, Callable[[bytes], Any]] = {
    "training.jsonl": results, "cells.jsonl": results, "truth.jsonl.gz": table, "card.json": card,
    "state.safetensors": tensors, "metrics.jsonl": metrics,
}  # fmt: skip


def moments(command: str, whole: Ended) -> list[Moment]:
    """When a command is hit, and by what: half by the clock, half by what is seen of its files, in the first half."""
    rng = random.Random(f"{command} {SEED}")
    start, others = list(COMMANDS).index(command), max(1, MOMENTS // 3)
    kinds = [*[(signal.SIGKILL,)] * MOMENTS, *(OTHERS[(start + place) % len(OTHERS)] for place in range(others))]
    rng.shuffle(kinds)
    return [
        Moment(kind, seconds=rng.uniform(FIRST, max(2 * FIRST, whole.seconds / 2)))
        if place % 2
        else Moment(kind, changes=rng.randint(1, max(1, whole.changes // 2)))
        for place, kind in enumerate(kinds)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_killed_again_and_again_ends_as_if_it_was_not(
    tmp_path: Path, commands: Commands, command: str
) -> None:
    folder, hit = tmp_path / "run", 0
    for moment in moments(command, commands.usual(command)):
        ended = commands.run(command, folder, moment)
        assert ended.code in ENDS, (moment, ended.text)
        assert "Traceback" not in ended.text, (moment, ended.text)
        hit += ended.code != 0
    last = commands.run(command, folder)
    assert last.code == 0, last.text
    assert hit > 0
    assert facts(folder) == facts(commands.folder(command))


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_a_full_disk_is_one_sentence_and_the_command_goes_on_once_there_is_room(
    tmp_path: Path, commands: Commands, command: str
) -> None:
    usual, folder = commands.folder(command), tmp_path / "run"
    largest = max(path.stat().st_size for path in usual.rglob("*"))
    assert_sentence(commands.run(command, folder, most=random.Random(f"{command} {SEED}").randrange(largest)))
    last = commands.run(command, folder)
    assert last.code == 0, last.text
    assert facts(folder) == facts(usual)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() == 0 and not OPEN, reason="root writes anywhere, and others cannot read this Python")
@pytest.mark.parametrize("command", COMMANDS)
def test_a_folder_that_cannot_be_written_is_one_sentence(commands: Commands, open_folder: Path, command: str) -> None:
    folder = open_folder / "run"
    folder.mkdir(mode=0o555)
    assert_sentence(commands.run(command, folder, user=0 if os.getuid() else NOBODY))
    assert list(folder.iterdir()) == []


def assert_sentence(ended: Ended) -> None:
    """The command ended in one sentence of its own, whatever it said before."""
    assert ended.code == 2, ended
    last = ended.text.splitlines()[-1]
    assert last.startswith("qnas: "), ended.text
    assert len(last) < 400
    assert "Traceback" not in ended.text
