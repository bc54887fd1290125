"""``qnas study truth`` from the command line to a table, the same command again, and ``qnas eval-proxy`` on it."""

import json
import sys
from pathlib import Path

import pytest

from qnas.cli.main import main
from qnas.training import jobs
from qnas.studies.benchmark_table import BenchmarkTable, load_table, save_table

STUDY = ["study", "truth", "--bits", "w4a4", "--networks", "1", "--seeds", "1", "--steps", "1", "--workers", "1"]


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
    out = str(tmp_path / "truth")
    assert ended(monkeypatch, *STUDY, "--out", out) == 0
    made = (tmp_path / "truth" / "truth.jsonl.gz").read_bytes()
    (entry,) = load_table(tmp_path / "truth" / "truth.jsonl.gz").entries
    lengths = {(start, steps) for start in ("predicted", "random") for steps in (1, 17)}
    assert {(run.start, run.steps) for run in entry.runs} == lengths

    monkeypatch.setattr(jobs, "run_job", None)  # whatever is done again fails
    assert ended(monkeypatch, *STUDY, "--out", out) == 0
    assert (tmp_path / "truth" / "truth.jsonl.gz").read_bytes() == made

    capsys.readouterr()
    assert ended(monkeypatch, *STUDY, "--steps", "2", "--out", out) == 2
    assert "steps: 1 there, 2 now" in capsys.readouterr().err


def test_a_table_is_held_against_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], made_up_table: BenchmarkTable
) -> None:
    save_table(tmp_path, made_up_table)
    figure, command = tmp_path / "proxy.svg", ["eval-proxy", "--truth", str(tmp_path)]
    assert ended(monkeypatch, *command, "--labels", "20", "--json", "--figure", str(figure)) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed["data"], printed["start"], printed["steps"]) == ("digits", "random", 24)
    assert [(row["bits"], row["n"], row["labels"]) for row in printed["rows"]] == [("w4a4", 60, 20), ("w2a2", 60, 20)]
    assert figure.read_text(encoding="utf-8").startswith("<?xml")
    assert ended(monkeypatch, *command, "--labels", "20") == 0
    assert "epoch_from_random" in capsys.readouterr().out
    assert ended(monkeypatch, *command, "--labels", "51") == 2
    assert "--labels is 51 of 60" in capsys.readouterr().err
