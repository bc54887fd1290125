"""Picks of a run that is not finished, or does not have them, are refused."""

import json
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.nas.picks import export_pick, read_result


@pytest.mark.parametrize("content", [None, "", "{", "[]", "{}", '{"picks": []}', '{"picks": null}'])
def test_a_run_without_a_result_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "result.json").write_text(content, encoding="utf-8")
    with pytest.raises(QnasError, match=r"result.json.* cannot be read .*; finish the run with the command that began"):
        read_result(tmp_path)


@pytest.mark.parametrize("pick", [-1, 0, 3])
def test_a_pick_that_is_not_there_is_refused(tmp_path: Path, pick: int) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"picks": [{}, {}]}), encoding="utf-8")
    with pytest.raises(QnasError, match=rf"--pick is 1 to 2 for this run, got {pick}; see them with: qnas show"):
        export_pick(tmp_path, pick)
