"""What every command says of itself, and the commands that only look or draw."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

import qnas as package
from qnas.checkpoints.store import checkpoint_names
from qnas.cli.main import app, main
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.files import write_genotypes
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import find_space, space_names
from qnas.task import Task
from qnas.training import run as training_run

ROOT = Path(__file__).parents[2]
COMMANDS: dict[str, Any] = get_command(app).commands  # type: ignore[attr-defined]
HEAVY = ("torch", "torch_geometric", "optuna", "onnx", "onnxruntime", "sklearn", "numpy")
Qnas = Callable[..., str]


@pytest.fixture
def qnas(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Qnas:
    """Runs the program in this process, in an empty folder, and returns its stdout."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> str:
        monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        assert ended.value.code == 0
        return capsys.readouterr().out

    return run


def test_there_are_commands_for_every_part_of_the_work() -> None:
    assert set(COMMANDS) >= {"search", "show", "export", "sample", "fit-ghn", "eval-ghn", "eval-proxy", "study"}


def test_help_lists_every_command(qnas: Qnas) -> None:
    printed = qnas("--help")
    assert [name for name in COMMANDS if f" {name} " not in printed] == []


def test_the_program_says_its_version(qnas: Qnas) -> None:
    assert qnas("--version") == f"{package.__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_says_what_it_does(qnas: Qnas, name: str) -> None:
    assert COMMANDS[name].help
    assert COMMANDS[name].help.split()[0] in qnas(name, "--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    assert [option.name for option in COMMANDS[name].params if not option.help] == []


def test_the_program_without_arguments_prints_its_help(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["qnas"])
    with pytest.raises(SystemExit):
        main()
    printed = capsys.readouterr()
    assert all(name in printed.out + printed.err for name in COMMANDS)


def test_reading_the_command_line_imports_nothing_heavy() -> None:
    code = f"import sys, qnas.cli.main; print([name for name in {HEAVY} if name in sys.modules])"
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ended.stdout.strip() == "[]"


def test_sample_prints_one_genotype_a_line(qnas: Qnas) -> None:
    lines = qnas("sample", "--space", "tiny", "--count", "5").splitlines()
    genotypes = [Genotype.from_json(json.loads(line)) for line in lines]
    assert len({genotype.key for genotype in genotypes}) == 5
    for genotype in genotypes:
        find_space("tiny").check(genotype)


def test_sampled_networks_carry_their_bits(qnas: Qnas) -> None:
    (line,) = qnas("sample", "--space", "tiny", "--count", "1", "--bits", "w4a8").splitlines()
    assert Genotype.from_json(json.loads(line)).bits == Bits(4, 8)


def test_the_same_seed_samples_the_same_networks(qnas: Qnas) -> None:
    first, again, other = (qnas("sample", "--space", "tiny", "--count", "3", "--seed", seed) for seed in "112")
    assert first == again != other


def test_parts_of_a_sample_are_disjoint(qnas: Qnas) -> None:
    train, held_out = (
        set(qnas("sample", "--space", "tiny", "--count", "30", "--part", part).splitlines())
        for part in ("train", "held_out")
    )
    assert len(train) == len(held_out) == 30
    assert not train & held_out


def test_a_split_is_sampled_from_its_own_choices(qnas: Qnas) -> None:
    lines = qnas("sample", "--space", "tiny", "--count", "5", "--split", "deep").splitlines()
    low, high = find_space("tiny").of_split("deep").cells
    assert all(low <= json.loads(line)["cells"] <= high for line in lines)


def test_a_sample_is_written_to_a_file(qnas: Qnas, tmp_path: Path) -> None:
    printed = qnas("sample", "--space", "tiny", "--count", "5")
    assert qnas("sample", "--space", "tiny", "--count", "5", "--out", "some/nets.jsonl") == ""
    assert (tmp_path / "some" / "nets.jsonl").read_text(encoding="utf-8") == printed
    assert [path.name for path in (tmp_path / "some").iterdir()] == ["nets.jsonl"]


def test_a_sample_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "nets.jsonl"
    path.write_text("old", encoding="utf-8")

    def break_off() -> Iterator[Genotype]:
        yield from islice(stream(find_space("tiny"), 0), 2)
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write_genotypes(break_off(), path, lambda done: None)
    assert path.read_text(encoding="utf-8") == "old"


def test_a_shell_completes_commands_and_options() -> None:
    asked = {"_QNAS_COMPLETE": "complete_bash", "COMP_WORDS": "qnas search --im", "COMP_CWORD": "2"}
    command = [sys.executable, "-m", "qnas"]
    ended = subprocess.run(command, cwd=ROOT, env={**os.environ, **asked}, capture_output=True, text=True, check=True)
    assert ended.stdout.split() == ["--image"]


def test_show_lists_what_there_is_with_what_to_run_next(qnas: Qnas) -> None:
    printed = qnas("show")
    for name in (*space_names(), *checkpoint_names()):
        assert any(f" {name} " in line and " qnas " in line for line in printed.splitlines()), name


@pytest.mark.parametrize("name", space_names())
def test_show_tells_the_choices_of_a_space(qnas: Qnas, name: str) -> None:
    printed = qnas("show", name)
    space = find_space(name)
    assert f"space {name}" in printed
    for value in (", ".join(map(str, space.channels)), f"{space.max_params:,}", *space.operations):
        assert value in printed
    assert "(" not in printed
    assert f"qnas sample --space {name}" in printed


def test_show_tells_the_size_of_a_checkpoint(qnas: Qnas) -> None:
    printed = qnas("show", "digits")
    assert "checkpoint digits" in printed
    assert " start " not in printed  # from which it has none
    assert "qnas eval-ghn" in printed


def test_show_tells_the_costs_of_a_genotype(qnas: Qnas, tmp_path: Path, genotype: Genotype) -> None:
    (tmp_path / "net.json").write_text(json.dumps(genotype.to_json()), encoding="utf-8")
    printed = qnas("show", "net.json")
    spent = costs(build_plan(genotype, Task((3, 32, 32), 10)))
    assert genotype.key in printed
    assert f"{spent.params:,}" in printed
    assert f"{spent.macs:,}" in printed
    assert "0, sep_conv, 3; 1, conv, 5 | 1, max_pool, 3; 2, avg_pool, 3 | " in printed


def test_a_line_of_a_sample_can_be_shown(qnas: Qnas, tmp_path: Path) -> None:
    qnas("sample", "--count", "1", "--out", "net.json")
    assert "params" in qnas("show", "net.json")


def test_show_tells_the_settings_of_an_unfinished_run(qnas: Qnas, tmp_path: Path) -> None:
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    settings = {"trials": 123, "limits": {"params": 0, "macs": 4000}, "pareto": [], "target": None}
    (tmp_path / "runs" / "mine" / "run.json").write_text(json.dumps({"settings": settings}), encoding="utf-8")
    printed = qnas("show", "runs/mine")
    assert "123" in printed
    assert "params no limit, macs 4,000" in printed
    assert "pareto" not in printed
    assert "target" not in printed
    assert "qnas show runs/mine" in qnas("show")


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        ("result.json", "run"),
        ("manifest.json", "network"),
        ("run.json", "unfinished run"),
        ("ghn.safetensors", "checkpoint"),
    ],
)
@pytest.mark.parametrize("place", ["runs/mine", "mine", "."])
def test_show_lists_what_lies_in_the_current_folder(
    qnas: Qnas, tmp_path: Path, file: str, kind: str, place: str
) -> None:
    (tmp_path / place).mkdir(parents=True, exist_ok=True)
    for name in ("run.json", file):
        (tmp_path / place / name).touch()
    if kind == "checkpoint":
        (tmp_path / place / "run.json").unlink()
    (tmp_path / "runs" / "other").mkdir(parents=True, exist_ok=True)
    lines = [line for line in qnas("show").splitlines() if f" qnas show {place} " in line]
    assert len(lines) == 1
    assert f" {kind} " in lines[0]


def test_a_dry_run_spends_and_writes_nothing(qnas: Qnas, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "MEASURED", 0.1)
    assert (
        qnas("search", "--data", "digits", "--max-params", "20000", "--steps", "36", "--workers", "1", "--dry-run")
        == ""
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bits", ["w4a4", "fp32"])
def test_predictions_are_scored_on_the_asked_for_splits(qnas: Qnas, bits: str) -> None:
    table = json.loads(qnas("eval-ghn", "--networks", "2", "--split", "id", "--bits", bits, "--json"))
    (row,) = table["rows"]
    assert (row["split"], row["bits"], row["n"], table["data"]) == ("id", bits, 2, "digits")
    assert 0 <= row["top1_mean"] <= row["top5_mean"] <= 100
