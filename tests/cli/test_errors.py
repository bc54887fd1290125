"""A mistake ends in exit code 2 and one sentence on stderr, never in a traceback, and leaves nothing behind."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from qnas.cli.main import main
from qnas.resources import shipped
from qnas.training import run as training_run

ROOT = Path(__file__).parents[2]


class Outcome(NamedTuple):
    code: int
    out: str
    err: str


Qnas = Callable[..., Outcome]


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working folder on a machine without CIFAR-10."""
    folder = tmp_path / "working"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("QNAS_DATA", raising=False)
    return folder


@pytest.fixture
def given(tmp_path: Path) -> Path:
    """What a user has beside the working folder: spaces, checkpoints, files and a run, all of them bad."""
    folder = tmp_path / "given"
    folder.mkdir()
    space = (shipped("search_spaces") / "tiny.toml").read_text(encoding="utf-8")
    (folder / "key.toml").write_text("colour = 3\n" + space, encoding="utf-8")
    (folder / "kernel.toml").write_text(space.replace("kernels = [3, 5, 7]", "kernels = [4]"), encoding="utf-8")
    (folder / "syntax.toml").write_text("operations = [\n", encoding="utf-8")
    weights = (shipped("checkpoints") / "digits" / "ghn.safetensors").read_bytes()
    for name, content in (("cut", weights[:-100]), ("text", b"no weights\n"), ("none", b"")):
        (folder / name).mkdir()
        (folder / name / "ghn.safetensors").write_bytes(content)
    (folder / "run").mkdir()
    (folder / "run" / "run.json").write_text(json.dumps({"settings": {"trials": 9}}), encoding="utf-8")
    (folder / "letters").mkdir()
    (folder / "letters" / "letter.txt").write_text("mine", encoding="utf-8")
    (folder / "broken.json").write_text("{", encoding="utf-8")
    (folder / "other.json").write_text('{"stem": 3}', encoding="utf-8")
    return folder


@pytest.fixture
def qnas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], empty: Path) -> Qnas:
    """Runs the program in this process."""

    def run(*arguments: str) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return Outcome(ended.value.code, printed.out, printed.err)

    return run


def check(outcome: Outcome, *words: str) -> None:
    assert outcome.code == 2
    assert outcome.out == ""
    assert outcome.err.startswith("qnas: ")
    assert outcome.err.endswith("\n")
    assert outcome.err.count("\n") == 1
    for word in words:
        assert word in outcome.err


SEARCHES = [
    ("--bits w9a9", ["2..8", "'w9a9'", "--bits w4a4"]),
    ("--bits xyz", ["like w4a8 or fp32", "'xyz'", "--bits w4a4"]),
    ("--bits w1a4", ["2..8", "'w1a4'"]),
    ("--max-params 10", ["--max-params 10", "smallest needs", "raise the budget"]),
    ("--max-macs 10", ["--max-macs 10", "smallest needs"]),
    ("--max-weight-bytes 10", ["--max-weight-bytes 10", "smallest needs"]),
    ("--max-activation-bytes 10", ["--max-activation-bytes 10", "smallest needs"]),
    ("--max-params -5", ["--max-params -5"]),
    ("--max-latency -0.5", ["--max-latency -0.5", "leave it out"]),
    ("--max-latency nan", ["--max-latency nan"]),
    ("--pareto parms", ["No cost is called 'parms'", "did you mean 'params'"]),
    ("--mixed --bits w2a2", ["up to --bits, got w2a2", "give w4a4 or more"]),
    ("--mixed --bits fp32", ["--mixed chooses among"]),
    ("--storage file", ["--storage is a URL", "got 'file'"]),
    ("--storage postgresql://me:secret@127.0.0.1:9/none", ["database that answers", "me:***@127.0.0.1", "start it"]),
    ("--max-params 0.5", ["--max-params"]),
    ("--max-params nan", ["--max-params"]),
    ("--max-weight-bytes 979.9999999999999", ["got --max-weight-bytes 979.9999999999999", "--max-weight-bytes 979."]),
    ("--data nowhere", ["'nowhere'", "give one of them as --data"]),
    ("--data cifar10", ["cifar10 is not on this machine", "as --data"]),
    ("--space nowhere", ["'nowhere'", "tiny"]),
    ("--space tinny", ["did you mean 'tiny'?"]),
    ("--space nowhere.toml", ["nowhere.toml cannot be read"]),
    ("--space {given}/key.toml", ["unknown key 'colour'", "channels"]),
    ("--space {given}/kernel.toml", ["kernels", "[4]", "odd"]),
    ("--space {given}/syntax.toml", ["syntax.toml cannot be read"]),
    ("--ghn nowhere", ["No checkpoint 'nowhere'", "qnas fit-ghn"]),
    ("--ghn {given}/cut", ["is damaged", "ghn.safetensors"]),
    ("--ghn {given}/text", ["is damaged"]),
    ("--ghn {given}/none", ["is damaged"]),
    ("--sampler bayes", ["'bayes'", "nsga2"]),
    ("--trials=-1", ["--trials is at least 1, got -1"]),
    ("--top -1", ["--top is at least 1, got -1"]),
    ("--steps -1", ["--steps is at least 1, got -1"]),
    ("--workers -1", ["--workers", "got -1"]),
    ("--device gpu", ["--device is auto, cpu or cuda, got 'gpu'"]),
    ("--out {given}/run", ["is of another version", "another --out"]),
    ("--out {given}/letters", ["holds other files", "another --out"]),
    ("--out {given}/broken.json", ["broken.json"]),
    ("--out {given}/broken.json/below", ["broken.json"]),
]


@pytest.mark.parametrize(("arguments", "words"), SEARCHES, ids=[arguments[:50] for arguments, _ in SEARCHES])
def test_a_search_with_a_mistake(qnas: Qnas, empty: Path, given: Path, arguments: str, words: list[str]) -> None:
    before = {path: path.read_bytes() for path in given.rglob("*") if path.is_file()}
    # few steps and trials, so that a mistake that is not noticed costs little
    few = ["--trials", "2", "--steps", "2", "--top", "1", "--workers", "1"]
    check(qnas("search", *few, *arguments.format(given=given).split()), *words)
    assert list(empty.iterdir()) == []
    assert {path: path.read_bytes() for path in given.rglob("*") if path.is_file()} == before


OTHERS = [
    ("show nonsense", ["'nonsense' is none", "qnas show"]),
    ("show {given}/letters", ["is none"]),
    (f"show {'long' * 100}", ["is none"]),
    ("show {given}/broken.json", ["cannot be read as a genotype", "qnas sample --count 1"]),
    ("show {given}/other.json", ["genotype", "qnas sample"]),
    ("show {given}/key.toml", ["unknown key 'colour'"]),
    ("export nowhere", ["result.json"]),
    ("export {given}/run", ["result.json"]),
    ("sample --count 0", ["--count is at least 1, got 0"]),
    ("sample --part some", ["--part", "'some'"]),
    ("sample --bits w9a9", ["'w9a9'"]),
    ("sample --space nowhere", ["'nowhere'"]),
    ("sample --split far", ["no split 'far'"]),
    ("sample --space tiny --count 2 --out {given}/broken.json/below", ["broken.json"]),
    ("eval-ghn --ghn nowhere", ["No checkpoint 'nowhere'"]),
    ("eval-ghn --networks 0", ["--networks is at least 1, got 0"]),
    ("eval-ghn --part train", ["'train'"]),
    ("eval-proxy --table nowhere", ["nowhere cannot be read", "qnas study table"]),
    ("eval-proxy --start he", ["random, predicted", "'he'"]),
    ("eval-ghn --bits w9a9", ["'w9a9'"]),
    ("eval-ghn --split far --networks 1", ["no split 'far'"]),
    ("fit-ghn --steps -1", ["--steps above 0"]),
    ("fit-ghn --steps 1 --bits w9a9", ["'w9a9'"]),
    ("fit-ghn --steps 1 --float-share 2", ["--float-share", "2"]),
    ("fit-ghn --steps 1 --batch 0", ["positive"]),
    ("fit-ghn --steps 1 --data nowhere", ["'nowhere'"]),
    ("fit-ghn --steps 1 --start-from nowhere", ["No checkpoint 'nowhere'"]),
    ("fit-ghn --steps 1 --sweep sideways", ["sideways"]),
    ("fit-ghn --steps 1 --threads 0", ["--threads"]),
    (
        "fit-ghn --steps 1 --resume --out {given}/letters",
        ["state.safetensors cannot be read as the state of a run", "leave out --resume"],
    ),
    ("fit-ghn --steps 1 --out {given}/broken.json", ["broken.json"]),
    ("fit-ghn --steps 1 --out {given}/cut", ["already holds a run"]),
]


@pytest.mark.parametrize(("arguments", "words"), OTHERS, ids=[arguments[:50] for arguments, _ in OTHERS])
def test_a_command_with_a_mistake(qnas: Qnas, empty: Path, given: Path, arguments: str, words: list[str]) -> None:
    check(qnas(*arguments.format(given=given).split()), *words)
    assert list(empty.iterdir()) == []


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there(qnas: Qnas, empty: Path) -> None:
    check(qnas("search", "--data", "digits", "--device", "cuda"), "--device cuda", "give --device cpu")
    assert list(empty.iterdir()) == []


def test_an_impossible_budget_states_the_smallest_size(qnas: Qnas, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "MEASURED", 0.1)

    def planned(most: int) -> Outcome:
        command = ("search", "--data", "digits", "--steps", "36", "--workers", "1", "--dry-run")
        return qnas(*command, "--max-params", str(most))

    smallest = int(planned(10).err.split("smallest needs ")[1].split(";")[0].replace(",", ""))
    assert planned(smallest - 1).code == 2
    assert planned(smallest).code == 0


def test_the_program_itself_ends_with_the_code_and_the_sentence(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "qnas", "sample", "--bits", "w9a9"]
    ended = subprocess.run(
        command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False
    )
    check(Outcome(ended.returncode, ended.stdout, ended.stderr), "2..8", "'w9a9'")
    assert list(tmp_path.iterdir()) == []
