"""Picks that a run does not have, or whose weights are damaged, are refused."""

import json
from pathlib import Path

import pytest

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.nas.picks import export_pick, load_pick, steps_of
from qnas.network.grids import Grids
from qnas.space.genotype import Genotype


@pytest.mark.parametrize("pick", [-1, 0, 3])
def test_a_pick_that_is_not_there_is_refused(tmp_path: Path, pick: int) -> None:
    network = {
        "key": "a", "genotype": {}, "score": 9.0, "estimate": None, "trained": {"1": 9.0}, "test": 9.0, "front": True,
        "params": 1, "macs": 1,
        "weight_bytes": 1, "activation_bytes": 1, "latency": 0.0,
    }  # fmt: skip
    result = {"screened": 2, "pareto": [], "calibration": None, "picks": [network, network], "candidates": []}
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    with pytest.raises(QnasError, match=rf"^`pick` is 1 to 2 for this run, got {pick}; see them with `qnas.show\("):
        export_pick(tmp_path, pick)


def test_a_pick_of_a_run_that_is_not_finished_is_refused(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match="has none; check the path, or finish the run with the command"):
        export_pick(tmp_path)


@pytest.mark.parametrize("content", [None, b"", b"no tensors"])
def test_a_pick_without_readable_weights_is_refused(
    tmp_path: Path, genotype: Genotype, digits_data: DataSet, content: bytes | None
) -> None:
    path = tmp_path / "picks" / f"{genotype.key}.safetensors"
    path.parent.mkdir()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(QnasError, match=r"safetensors cannot be read as trained weights \(.*; search again with"):
        load_pick(tmp_path, genotype, digits_data, Grids())


def test_a_pick_tells_the_steps_that_it_was_trained_for(tmp_path: Path, genotype: Genotype) -> None:
    jobs = [f"{genotype.key}/{steps}/0/predicted/abc" for steps in (12, 150, 37)] + ["other/900/0/random/abc"]
    ledger = tmp_path / "training.jsonl"
    ledger.write_text("".join(json.dumps({"job": job, "top1": 50.0}) + "\n" for job in jobs), encoding="utf-8")
    assert steps_of(tmp_path, genotype) == 150


@pytest.mark.parametrize("content", ["", '{"job": 7}\n', '{"top1": 50.0}\n', '{"job": "a/b"}\n'])
def test_a_pick_of_which_no_run_is_noted_is_refused(tmp_path: Path, genotype: Genotype, content: str) -> None:
    (tmp_path / "training.jsonl").write_text(content, encoding="utf-8")
    with pytest.raises(QnasError, match=r"training.jsonl cannot be read as a run's training runs"):
        steps_of(tmp_path, genotype)
