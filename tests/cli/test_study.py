"""``qnas study table`` from the command line to a table, ``qnas eval-proxy`` on it, and ``qnas study layers``."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from qnas.cli.main import main
from qnas.studies.benchmark_table import BenchmarkTable, load_table, save_table

STUDY = ["study", "table", "--bits", "w4a4", "--networks", "1", "--seeds", "1", "--steps", "1", "--workers", "1"]


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the program, run in this process."""
    monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
    with pytest.raises(SystemExit) as result:
        main()
    return result.value.code


@pytest.mark.slow
def test_a_table_is_made_continued_and_not_mixed_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "table")
    assert ended(monkeypatch, *STUDY, "--out", out) == 0
    made = (tmp_path / "table" / "truth.jsonl.gz").read_bytes()
    (entry,) = load_table(tmp_path / "table" / "truth.jsonl.gz").entries
    lengths = {(start, steps) for start in ("predicted", "random") for steps in (1, 17)}
    assert {(run.start, run.steps) for run in entry.runs} == lengths

    runs = (tmp_path / "table" / "training.jsonl").read_bytes()  # whatever is done again is written down again
    assert ended(monkeypatch, "study", "truth", *STUDY[2:], "--out", out) == 0  # as it was called in version 0.1.0
    assert (tmp_path / "table" / "training.jsonl").read_bytes() == runs
    assert (tmp_path / "table" / "truth.jsonl.gz").read_bytes() == made

    capsys.readouterr()
    assert ended(monkeypatch, *STUDY, "--steps", "2", "--out", out) == 2
    assert "steps: 1 there, 2 now" in capsys.readouterr().err


def test_a_table_is_held_against_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made_up_table: BenchmarkTable
) -> None:
    save_table(tmp_path, replace(made_up_table, entries=made_up_table.entries[:60]))
    figure, command = tmp_path / "proxy.svg", ["eval-proxy", "--table", str(tmp_path)]
    assert ended(monkeypatch, *command, "--labels", "20", "--json", "--figure", str(figure)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["data"], printed["start"], printed["steps"]) == ("digits", "random", 24)
    assert [(row["bits"], row["n"], row["labels"]) for row in printed["rows"]] == [("w4a4", 60, 20)]
    assert figure.read_text(encoding="utf-8").startswith("<?xml")
    assert ended(monkeypatch, *command, "--labels", "20") == 0
    assert "epoch_from_random" in capsys.readouterr().out
    assert ended(monkeypatch, "eval-proxy", "--truth", str(tmp_path), "--labels", "51") == 2  # the older name
    assert "--labels is 51 of 60" in capsys.readouterr().err


def test_layers_are_told_as_tables_json_and_csv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["study", "layers", "resnet8", "--width", "4", "--bits", "w4a4", "--data", "digits", "--images", "50"]
    assert ended(monkeypatch, *command, "--out", str(tmp_path / "out")) == 0
    table = capsys.readouterr().out
    assert "stage0_block0_first" in table
    assert max(len(line.rstrip()) for line in table.splitlines()) <= 80
    assert (tmp_path / "out" / "layers.svg").is_file()

    assert ended(monkeypatch, *command, "--json", "--remedies", "--ghn", "none") == 0
    network = json.loads(capsys.readouterr().out)["networks"][0]
    assert (network["origin"], len(network["rows"]), len(network["worst"])) == ("random", 15, 3)
    assert {one["layer"] for one in network["remedies"]} == {*network["worst"], "all layers"}

    assert ended(monkeypatch, *command, "--csv") == 0
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[0].split(",")[:4]) == (16, ["network", "layer", "kind", "bits"])

    assert ended(monkeypatch, "study", "layers", "resnet8", "--data", "digits") == 2
    assert "in float; give for example --bits w4a4." in capsys.readouterr().err


INIT = [
    "study", "init", "--data", "digits", "--seeds", "1", "--epochs", "0.1", "--width", "4", "--workers", "1",
    "--blocks", "dws_conv_no_bn", "--initializers", "he_normal", "--initializers", "ghn",
]  # fmt: skip


@pytest.mark.slow
def test_a_study_of_initializers_is_made_and_continued(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "init"
    assert ended(monkeypatch, *INIT, "--out", str(out), "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert [run["initializer"] for run in printed["runs"]] == ["he_normal", "ghn"]
    assert printed == json.loads((out / "study.json").read_text(encoding="utf-8"))
    written = (out / "cells.jsonl").read_bytes()
    assert ended(monkeypatch, *INIT, "--out", str(out)) == 0
    assert (out / "cells.jsonl").read_bytes() == written  # nothing is trained again
    assert "dws_conv_no_bn" in capsys.readouterr().out
    assert ended(monkeypatch, *INIT, "--out", str(out), "--width", "8") == 2
    assert "width: 4 there, 8 now" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "message"),
    [
        (["--preset", "long"], "No preset is called 'long'"),
        (["--seeds", "-1"], "--seeds is above 0, got -1; leave it out for the preset's"),
        (["--blocks", "vgg"], "No block is called 'vgg'"),
    ],
)
def test_wrong_options_of_a_study_end_in_one_sentence(
    option: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert ended(monkeypatch, "study", "init", *option) == 2
    assert message in capsys.readouterr().err
