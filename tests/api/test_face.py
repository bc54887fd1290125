"""The face: what ``import qnas`` brings, each verb on the digits, and wrong arguments."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import qnas

TINY = {"data": "digits", "max_params": 12_000, "trials": 4, "steps": 4, "top": 2}


@pytest.fixture(scope="module")
def genotype() -> qnas.Genotype:
    return next(qnas.sample("tiny", 1, part="held_out", bits="w4a4"))


@pytest.fixture(scope="module")
def stages() -> list[tuple[str, float, str]]:
    return []


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, stages: list[tuple[str, float, str]]) -> qnas.SearchRun:
    def progress(stage: str, share: float, remark: str) -> None:
        stages.append((stage, share, remark))

    return qnas.search("w4a4", **TINY, out=tmp_path_factory.mktemp("face") / "run", progress=progress)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def winner(tmp_path_factory: pytest.TempPathFactory, genotype: qnas.Genotype) -> qnas.Winner:
    return qnas.train(genotype, data="digits", steps=3, out=tmp_path_factory.mktemp("trained") / "winner")


def test_importing_it_brings_no_library() -> None:
    code = "import qnas, sys; sys.exit(bool({'torch', 'optuna', 'numpy', 'typer'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_importing_it_takes_no_time() -> None:
    code = "import time; start = time.perf_counter(); import qnas; print(time.perf_counter() - start)"
    command = [sys.executable, "-c", code]
    assert min(float(subprocess.run(command, capture_output=True, check=True).stdout) for _ in range(7)) < 0.03


@pytest.mark.parametrize("name", qnas.__all__)
def test_every_name_is_there_and_documented(name: str) -> None:
    assert name in dir(qnas)
    assert getattr(qnas, name).__doc__


def test_other_names_are_not_there() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'find'"):
        _ = qnas.find  # type: ignore[attr-defined]


def test_the_same_networks_are_drawn_again() -> None:
    first, again = (list(qnas.sample("tiny", 5, seed=2)) for _ in range(2))
    assert first == again
    assert len({one.key for one in first}) == 5


def test_predicted_parameters_are_those_that_are_scored(genotype: qnas.Genotype) -> None:
    parameters = qnas.predict(genotype, ghn="digits")
    assert parameters["stem/weight"].shape[2:] == (genotype.stem_kernel, genotype.stem_kernel)
    assert parameters["classifier/bias"].shape == (10,)
    assert all(tensor.isfinite().all() for tensor in parameters.values())
    score = qnas.score(genotype, data="digits", images=100)
    assert score.top1 > 50
    assert score.drop is not None


def test_a_genotype_may_come_as_json_or_as_a_file(genotype: qnas.Genotype, tmp_path: Path) -> None:
    path = tmp_path / "genotype.json"
    path.write_text(json.dumps(genotype.to_json()), encoding="utf-8")
    scores = {qnas.score(one, data="digits", images=64) for one in (genotype, genotype.to_json(), path)}
    assert len(scores) == 1


@pytest.mark.export
def test_a_winner_is_a_module_that_can_be_tuned(winner: qnas.Winner, genotype: qnas.Genotype) -> None:
    assert winner.genotype == genotype
    assert winner.costs.params == sum(value.numel() for value in winner.slots.values())
    assert 0 <= winner.accuracies["test"] <= 100
    images = torch.randn(8, *winner.task.image)
    torch.nn.functional.cross_entropy(winner(images), torch.arange(8)).backward()
    assert winner.slots["stem/weight"].grad.abs().sum() > 0  # type: ignore[union-attr]


@pytest.mark.export
def test_a_winner_is_read_back_as_it_is(winner: qnas.Winner) -> None:
    images = torch.randn(8, *winner.task.image)
    again = qnas.load(winner.folder)
    assert isinstance(again, qnas.Winner)
    assert torch.equal(again(images), winner(images))


@pytest.mark.export
def test_a_run_reads_as_a_table(run: qnas.SearchRun) -> None:
    rows = run.rows
    assert len(rows) == 4
    assert [row["pick"] for row in rows] == [1, 2, None, None]
    assert all(isinstance(value, str | int | float | None) for row in rows for value in row.values())


@pytest.mark.export
def test_a_run_tells_how_far_it_is(run: qnas.SearchRun, stages: list[tuple[str, float, str]]) -> None:
    assert list(dict.fromkeys(stage for stage, _, _ in stages)) == ["screen", "calibrate", "halve", "finish"]
    assert all(0 <= share <= 1 for _, share, _ in stages)


@pytest.mark.export
def test_a_run_and_its_winner_are_read_back(run: qnas.SearchRun) -> None:
    assert run.is_finished
    again = qnas.load(run.folder)
    assert isinstance(again, qnas.SearchRun)
    assert again.rows == run.rows
    assert again.winner.genotype.key == run.rows[0]["key"]


@pytest.mark.export
def test_the_same_call_again_gives_the_same_run(run: qnas.SearchRun) -> None:
    assert qnas.search("w4a4", **TINY, out=run.folder).rows == run.rows  # type: ignore[arg-type]


@pytest.mark.export
def test_a_pick_and_a_tuned_winner_are_exported(run: qnas.SearchRun, tmp_path: Path) -> None:
    second = qnas.export(run, pick=2, out=tmp_path / "second")
    assert second.parity.same_class > 99
    tuned = run.winner
    with torch.no_grad():
        tuned.slots["classifier/bias"][3] += 100
    exported = qnas.export(tuned, out=tmp_path / "tuned")
    assert exported.parity.onnxruntime_top1 < 20


def test_a_dry_run_writes_nothing(tmp_path: Path) -> None:
    planned = qnas.search("w4a4", **TINY, out=tmp_path / "run", dry_run=True)  # type: ignore[arg-type]
    assert not planned.is_finished
    assert list(tmp_path.iterdir()) == []


def test_a_hypernetwork_is_trained_and_measured(tmp_path: Path) -> None:
    made = qnas.fit_ghn("digits", out=tmp_path / "ghn", steps=2, meta_batch=2)
    loaded = qnas.load(tmp_path / "ghn")
    assert isinstance(loaded, qnas.Checkpoint)
    assert loaded.task == made.task
    table = qnas.evaluate_ghn(tmp_path / "ghn", networks=1, bits=("w4a4",), splits=("id",), images=64)
    assert [(row.split, row.bits, row.n) for row in table.rows] == [("id", "w4a4", 1)]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: qnas.search("w4a4", max_params=-1), r"`max_params=-1`; leave it out"),
        (lambda: qnas.search("w4a4", max_params=1.5), r"whole number, got `max_params=1.5`"),
        (lambda: qnas.search("w9a9"), r"within 2..8, got 'w9a9'"),
        (lambda: qnas.search("w4a4", data="digits", sampler="tpa"), r"'tpa'; did you mean 'tpe'"),
        (lambda: qnas.search("w4a4", data="nowhere"), r"got 'nowhere'; give one of them as `data`"),
        (lambda: qnas.search("w4a4", data="digits", trials=0), r"`trials` is at least 1, got 0"),
        (lambda: qnas.search("w4a4", data="digits", device="tpu"), r"`device` is auto, cpu or cuda, got 'tpu'"),
        (lambda: qnas.sample(count=0), r"`count` is at least 1, got 0"),
        (lambda: qnas.sample(part="some"), r"`part` of a space is .*, got 'some'"),
        (lambda: qnas.predict({"cells": 3}, ghn="digits"), r"A genotype has the fields"),
        (lambda: qnas.score("nowhere.json"), r"nowhere.json cannot be read as a genotype"),
        (lambda: qnas.load("nowhere"), r"'nowhere' is none; check the path"),
        (lambda: qnas.export("nowhere"), r"result.json cannot be read as the result of a finished run"),
        (lambda: qnas.fit_ghn("digits", float_share=2.0), r"`float_share` is a share of the run, 0 to 1, got 2.0"),
        (lambda: qnas.evaluate_ghn("digits", networks=0), r"`networks` is at least 1, got 0"),
        (lambda: qnas.evaluate_proxy("digits", start="both"), r"`start` is one of .*, got 'both'"),
        (lambda: qnas.benchmark_table("digits", seeds=0), r"`seeds` is at least 1, got 0"),
        (lambda: qnas.Recipe(rate=-1.0), r"`rate` is a positive number, got -1.0"),
        (lambda: qnas.show("nowhere"), r"'nowhere' is none; see what there is with `qnas.show\(\)`"),
    ],
)
def test_wrong_arguments_are_named_with_their_value_and_the_next_step(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(qnas.QnasError, match=message):
        call()
