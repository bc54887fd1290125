"""``qnas study truth`` from the command line to a table, and the same command again."""

import sys
from pathlib import Path

import pytest

from qnas.cli.main import main
from qnas.search import jobs
from qnas.studies.truth import load_truth

pytestmark = pytest.mark.slow

STUDY = ["study", "truth", "--bits", "w4a4", "--networks", "1", "--seeds", "1", "--steps", "1", "--workers", "1"]


def ended(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> object:
    """The exit code of the program, run in this process."""
    monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
    with pytest.raises(SystemExit) as result:
        main()
    return result.value.code


def test_a_table_is_made_continued_and_not_mixed_with_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "truth")
    assert ended(monkeypatch, *STUDY, "--out", out) == 0
    made = (tmp_path / "truth" / "truth.jsonl.gz").read_bytes()
    (entry,) = load_truth(tmp_path / "truth" / "truth.jsonl.gz")
    lengths = {(start, steps) for start in ("predicted", "random") for steps in (1, 17)}
    assert {(run.start, run.steps) for run in entry.runs} == lengths

    monkeypatch.setattr(jobs, "run_job", None)  # whatever is done again fails
    assert ended(monkeypatch, *STUDY, "--out", out) == 0
    assert (tmp_path / "truth" / "truth.jsonl.gz").read_bytes() == made

    capsys.readouterr()
    assert ended(monkeypatch, *STUDY, "--steps", "2", "--out", out) == 2
    assert "steps: 1 there, 2 now" in capsys.readouterr().err
