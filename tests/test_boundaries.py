"""The program where machines are odd: no home, no name for the user, other letters, strict Python, narrow terminals."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from shutil import which

import pytest

pytestmark = pytest.mark.slow
COMMAND = ["train", "ds_cnn", "--width", "4", "--bits", "w4a4", "--data", "digits", "--steps", "2", "--json"]
ODD = {
    "without a home, of the language C, 60 columns wide": {
        "HOME": None, "XDG_CACHE_HOME": None, "LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0", "COLUMNS": "60", "TERM": "dumb",
    },
    "with a home that is not there": {"HOME": "/nowhere/at all", "XDG_CACHE_HOME": None},
    "with a home that cannot be written": {"HOME": "/proc", "XDG_CACHE_HOME": None},
    "without assertions, where warnings are errors": {
        "PYTHONOPTIMIZE": "2", "PYTHONWARNINGS": "error,ignore::DeprecationWarning:torch.jit._script",
    },
}  # fmt: skip
"""Variables of the environment; None takes one away. The warning is torch-geometric's, while it is imported."""


def run(
    folder: Path, odd: dict[str, str | None], *words: str, program: tuple[str, ...] = ("-m", "qnas"), umask: int = -1
) -> subprocess.CompletedProcess[str]:
    """The program in an environment with these variables, or without them."""
    environment = {name: value for name, value in {**os.environ, **odd}.items() if value is not None}
    command = [sys.executable, *program, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", umask=umask
    )


def check_ended(ended: subprocess.CompletedProcess[str], folder: Path) -> None:
    """It ended well, said nothing of Python's, and left a winner."""
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    assert "Warning" not in ended.stderr
    assert json.loads(ended.stdout)["accuracy"]["test"] > 5
    assert (folder / "model.onnx").stat().st_size > 1000


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_it_trains(tmp_path: Path, odd: dict[str, str | None]) -> None:
    folder = tmp_path / "Bilder für alle" / "läuft"
    check_ended(run(tmp_path, odd, *COMMAND, "--out", str(folder)), folder)
    shown = run(tmp_path, odd, "show", str(folder))
    assert shown.returncode == 0
    assert "Traceback" not in shown.stderr


def test_files_are_as_private_as_the_user_wants(tmp_path: Path) -> None:
    check_ended(run(tmp_path, {}, *COMMAND, "--out", "private", umask=0o077), tmp_path / "private")
    modes = {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "private").iterdir()}
    assert modes == {0o600}


def test_a_user_without_a_name_can_train(tmp_path: Path) -> None:
    nameless = "import pwd; pwd.getpwuid = lambda number: {}[number]; from qnas.cli.main import main; main()"
    odd = dict.fromkeys(("HOME", "XDG_CACHE_HOME", "USER", "LOGNAME", "LNAME", "USERNAME"))
    check_ended(run(tmp_path, odd, *COMMAND, "--out", "own", program=("-c", nameless)), tmp_path / "own")


def can_unshare() -> bool:
    """Whether a program can be run in a namespace of its own, which has no network."""
    return (
        subprocess.run(["unshare", "-rn", "true"], capture_output=True).returncode == 0 if which("unshare") else False
    )


@pytest.mark.skipif(not can_unshare(), reason="needs namespaces")
def test_a_search_needs_no_network(tmp_path: Path) -> None:
    words = ["search", "--data", "digits", "--trials", "4", "--steps", "6", "--top", "1", "--workers", "2", "--json"]
    command = ["unshare", "-rn", sys.executable, "-m", "qnas", *words, "--out", "run"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["screened"] == 4
    assert (tmp_path / "run" / "report.html").is_file()


JUMPS = """
import random, time
true, true_ns = time.time, time.time_ns
jump = lambda: random.choice((-400, 0, 1, 400)) * 86400
time.time = lambda: true() + jump()
time.time_ns = lambda: true_ns() + jump() * 10**9
"""


def test_a_clock_that_jumps_changes_nothing(tmp_path: Path) -> None:
    """By more than a year, back and forth, in every process."""
    (tmp_path / "sitecustomize.py").write_text(JUMPS, encoding="utf-8")
    odd: dict[str, str | None] = {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}
    words = ["search", "--data", "digits", "--trials", "4", "--steps", "6", "--top", "1", "--workers", "2", "--json"]
    results = []
    for folder, changed in (("steady", {}), ("jumping", odd)):
        ended = run(tmp_path, changed, *words, "--out", folder)
        assert ended.returncode == 0, ended.stderr
        results.append((tmp_path / folder / "result.json").read_bytes())
    assert results[0] == results[1]
