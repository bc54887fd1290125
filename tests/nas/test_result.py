"""The result of a search in its run folder: what is written is read back, and a run without one is refused."""

from dataclasses import replace
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.nas.candidate import Candidate
from qnas.nas.result import read_result, write_result
from qnas.nas.rungs import Selection
from qnas.nas.settings import SearchSettings
from qnas.network.costs import Costs
from qnas.quant.scheme import Bits
from qnas.scores.predicted import Score
from qnas.space.genotype import Genotype


def test_a_run_without_a_result_is_refused(tmp_path: Path) -> None:
    told = r"file result.json, and .* has none; check the path, or finish the run with the command that began it\."
    with pytest.raises(QnasError, match=told):
        read_result(tmp_path)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_a_run_with_a_damaged_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        QnasError,
        match=r"result.json cannot be read as the result of a finished run \(.+\); finish the run with the command",
    ):
        read_result(tmp_path)


@pytest.mark.parametrize("content", ["{}", '{"picks": []}', '{"picks": null}'])
def test_a_result_without_picks_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(QnasError, match=r"result.json holds no picks; finish the run with the command that began it"):
        read_result(tmp_path)


def test_what_was_written_is_read_back(tmp_path: Path, genotype: Genotype) -> None:
    left = Candidate(genotype, Costs(100, 2000, 50, 60), Score(33.0, 1.9, -0.3))
    right, other = (replace(left, genotype=replace(genotype, channels=channels)) for channels in (8, 12))
    picks = [replace(one.after(12, 90.0), test=80.0) for one in (right, left)]
    settings = SearchSettings(Bits(4, 4), pareto=("macs",))
    write_result(tmp_path, settings, Selection([left, right, other], picks, [right], None))
    found = read_result(tmp_path)
    assert (found["screened"], found["pareto"], found["calibration"]) == (3, ["macs"], None)
    assert [(one["key"], one["front"], one["test"]) for one in found["picks"]] == [
        (right.key, True, 80.0),
        (left.key, False, 80.0),
    ]
    assert [one["key"] for one in found["candidates"]] == [other.key]
    assert [one["number"] for one in found["picks"] + found["candidates"]] == [2, 1, 3]
