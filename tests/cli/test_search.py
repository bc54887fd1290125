"""``qnas search`` from the command line to a winner, what can be done with its folder, and the same command again."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import onnxruntime
import pytest

from qnas.cli.main import main

pytestmark = pytest.mark.export

ROOT = Path(__file__).parents[2]
COUNTS = {"trials": 4, "steps": 12, "top": 2, "workers": 1, "max-params": 12_000}
SEARCH = ["search", "--data", "digits", "--bits", "w4a4", *(f"--{key}={value}" for key, value in COUNTS.items())]


class Printed(NamedTuple):
    out: str
    err: str


Qnas = Callable[..., Printed]


@pytest.fixture
def qnas(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], working: Path) -> Qnas:
    """Runs the program in this process, in the folder of the finished run."""
    monkeypatch.chdir(working)

    def run(*arguments: str) -> Printed:
        monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return Printed(*capfd.readouterr())

    return run


@pytest.fixture(scope="module")
def working(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("working")


@pytest.fixture(scope="module")
def first(working: Path) -> Printed:
    """What a whole search prints, as a program of its own."""
    command = [sys.executable, "-m", "qnas", *SEARCH, "--json", "--out", "run"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, check=True)
    return Printed(ended.stdout, ended.stderr)


@pytest.fixture(scope="module")
def result(first: Printed) -> dict[str, Any]:
    printed: dict[str, Any] = json.loads(first.out)
    return printed


def test_stdout_is_one_line_of_json(first: Printed, result: dict[str, Any]) -> None:
    assert first.out.count("\n") == 1
    assert result["folder"] == "run"
    assert result["screened"] == 4
    assert len(result["picks"]) == 2


def test_stderr_says_what_is_searched_and_where(first: Printed) -> None:
    assert "Searching tiny for w4a4 networks on digits; run folder run." in first.err
    assert "Traceback" not in first.err
    assert "Warning" not in first.err


def test_picks_keep_the_budget_and_beat_chance(result: dict[str, Any]) -> None:
    for pick in result["picks"]:
        assert pick["params"] <= 12_000
        assert max(pick["trained"].values()) > 12
        assert pick["test"] > 12


def test_the_winner_runs_in_onnxruntime(working: Path, result: dict[str, Any]) -> None:
    session = onnxruntime.InferenceSession(
        working / "run" / "winner" / "model.onnx", providers=["CPUExecutionProvider"]
    )
    assert [tuple(value.shape[1:]) for value in session.get_inputs()] == [(1, 8, 8)]
    assert result["parity"]["same_class"] >= 99


def test_show_prints_the_picks_and_what_comes_next(qnas: Qnas, result: dict[str, Any]) -> None:
    printed = qnas("show", "run").out
    for pick in result["picks"]:
        assert pick["key"] in printed
        assert f"{pick['params']:,}" in printed
        assert f"{pick['test']:.1f}" in printed
    assert "qnas show run/winner" in printed


def test_show_prints_the_winner(qnas: Qnas, result: dict[str, Any]) -> None:
    printed = qnas("show", "run/winner").out
    assert f"{result['picks'][0]['params']:,}" in printed
    assert "w4a4" in printed


def test_the_genotype_of_the_winner_can_be_shown(qnas: Qnas, result: dict[str, Any]) -> None:
    assert result["picks"][0]["key"] in qnas("show", "run/winner/genotype.json").out


def test_the_second_pick_is_exported_beside_the_winner(qnas: Qnas, working: Path, result: dict[str, Any]) -> None:
    printed = json.loads(qnas("export", "run", "--pick", "2", "--json").out)
    assert printed["folder"] == "run/pick2"
    manifest = json.loads((working / "run" / "pick2" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["costs"]["params"] == result["picks"][1]["params"]
    assert printed["parity"]["same_class"] >= 99


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--pick", "3"], "--pick is 1 to 2 for this run, got 3"),
        (["--pick", "0"], "--pick is 1 to 2 for this run, got 0"),
        (
            ["--profile", "huge"],
            "is called 'huge'; choose from: c, compact, opset13, opset25, qonnx, safetensors, tflite, torch, unpacked",
        ),
        (["--out", "run/run.json"], "run.json"),
    ],
)
def test_a_pick_or_profile_that_is_not_there_is_refused(
    first: Printed,
    working: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    words: str,
) -> None:
    monkeypatch.chdir(working)
    monkeypatch.setattr(sys, "argv", ["qnas", "export", "run", "--out", "refused", *arguments])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert words in capsys.readouterr().err
    assert not (working / "refused").exists()


def test_a_pick_is_exported_to_another_folder(qnas: Qnas, working: Path) -> None:
    qnas("export", "run", "--out", "elsewhere")
    winner = (working / "run" / "winner" / "model.onnx").read_bytes()
    assert (working / "elsewhere" / "model.onnx").read_bytes() == winner


def files(folder: Path) -> dict[Path, tuple[bytes, int]]:
    """Every file of a folder with its content and the time of its last change."""
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_the_same_command_again_prints_the_same_without_training(
    qnas: Qnas, working: Path, result: dict[str, Any]
) -> None:
    before = files(working / "run")
    printed = qnas(*SEARCH, "--json", "--out", "run")
    assert json.loads(printed.out) == result
    assert "Searching" not in printed.err
    assert files(working / "run") == before  # every training run and every scored network is written down


def test_a_run_that_lost_only_its_result_finds_it_again_without_training(
    qnas: Qnas, working: Path, result: dict[str, Any]
) -> None:
    log = working / "run" / "training.jsonl"
    before = log.read_bytes()
    (working / "run" / "result.json").unlink()
    assert json.loads(qnas(*SEARCH, "--json", "--out", "run").out) == result
    assert log.read_bytes() == before


def test_without_json_a_table_is_printed(qnas: Qnas, result: dict[str, Any]) -> None:
    printed = qnas(*SEARCH, "--out", "run").out
    assert result["picks"][0]["key"] in printed
    assert "Winner: run/winner/model.onnx" in printed
    assert "Report: run/report.html" in printed
    assert "Next: python run/winner/predict.py photo.jpg; qnas show run/winner; qnas export run --pick 2" in printed


def test_a_search_ends_with_a_page_that_says_how_to_have_it_again(
    qnas: Qnas, working: Path, result: dict[str, Any]
) -> None:
    page = (working / "run" / "report.html").read_text(encoding="utf-8")
    (command,) = re.findall(r"<pre>qnas (search .*)</pre>", page)
    assert json.loads(qnas(*shlex.split(command), "--workers", "1", "--out", "run", "--json").out) == result
    assert qnas("report", "run", "--out", "page.html").out == "page.html\n"
    assert (working / "page.html").read_text(encoding="utf-8") == page


def test_a_run_without_its_winner_shows_and_mends_itself(qnas: Qnas, working: Path, result: dict[str, Any]) -> None:
    (working / "run" / "winner" / "manifest.json").unlink()
    assert result["picks"][0]["key"] in qnas("show", "run").out
    assert (working / "run" / "winner" / "manifest.json").is_file()


@pytest.mark.slow
def test_two_workers_find_the_same_as_one(working: Path, result: dict[str, Any]) -> None:
    command = [sys.executable, "-m", "qnas", *SEARCH, "--workers=2", "--json", "--out", "two"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command, cwd=working, env=environment, capture_output=True, text=True, check=True)
    assert json.loads(ended.stdout) == {**result, "folder": "two"}
