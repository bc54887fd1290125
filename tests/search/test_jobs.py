"""Jobs and their ledger: what was done is not done again, whatever a kill left of the file."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.network.module import Network, he_parameters
from qnas.quant.scheme import Bits
from qnas.search import jobs
from qnas.search.jobs import Job, Ledger, Pool, run_job
from qnas.space.genotype import Branch, Genotype
from qnas.training.qat import deployed_accuracy

SMALL = Genotype(3, 1, 4, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
JOB = Job(SMALL, 2, 0, "digits", "", "cpu")


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the jobs that were really run, each of which takes no time."""
    names: list[str] = []

    def run(job: Job) -> dict[str, Any]:
        names.append(job.name)
        if job.weights:
            Path(job.weights).write_bytes(b"weights")
        return {"job": job.name, "top1": float(job.steps), "top5": 100.0, "seconds": 0.0}

    monkeypatch.setattr(jobs, "run_job", run)
    return names


def some(count: int) -> list[Job]:
    return [replace(JOB, steps=steps) for steps in range(1, count + 1)]


def run_all(path: Path, wanted: list[Job]) -> list[tuple[Job, float]]:
    with Pool(1, Ledger(path)) as pool:
        return [(job, result["top1"]) for job, result in pool.run(wanted)]


def test_every_job_is_run_and_written_down(tmp_path: Path, done: list[str]) -> None:
    found = run_all(tmp_path / "ledger", some(3))
    assert found == [(job, float(job.steps)) for job in some(3)]
    assert done == [job.name for job in some(3)]
    lines = (tmp_path / "ledger").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["job"] for line in lines] == done


def test_no_job_is_run_twice(tmp_path: Path, done: list[str]) -> None:
    first = run_all(tmp_path / "ledger", some(3))
    done.clear()
    assert run_all(tmp_path / "ledger", some(3)) == first
    assert done == []


def test_known_results_come_first_and_the_others_are_run(tmp_path: Path, done: list[str]) -> None:
    known = some(4)[1::2]
    run_all(tmp_path / "ledger", known)
    done.clear()
    found = [job.steps for job, _ in run_all(tmp_path / "ledger", some(4))]
    assert found == [2, 4, 1, 3]
    assert done == [job.name for job in some(4)[::2]]


@pytest.mark.parametrize("kept", [0, 1, 20, -1])
def test_a_last_line_that_was_cut_off_is_done_again(tmp_path: Path, done: list[str], kept: int) -> None:
    path = tmp_path / "ledger"
    run_all(path, some(3))
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines) + "\n" + last[:kept], encoding="utf-8")
    done.clear()
    assert dict(run_all(path, some(3))) == {job: float(job.steps) for job in some(3)}
    assert done == [some(3)[2].name]


@pytest.mark.parametrize("kept", [1, 20, -1, None])
def test_a_run_can_be_continued_any_number_of_times_after_a_cut_off_line(
    tmp_path: Path, done: list[str], kept: int | None
) -> None:
    path = tmp_path / "ledger"
    run_all(path, some(3))
    *lines, last = path.read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(lines) + "\n" + last[:kept], encoding="utf-8")  # without the line's end, if not all of it
    run_all(path, some(4))
    done.clear()
    assert dict(run_all(path, some(5))) == {job: float(job.steps) for job in some(5)}
    assert done == [some(5)[4].name]


def test_a_job_whose_weights_are_gone_is_run_again(tmp_path: Path, done: list[str]) -> None:
    job = replace(JOB, weights=str(tmp_path / "weights"))
    run_all(tmp_path / "ledger", [job])
    run_all(tmp_path / "ledger", [job])
    assert len(done) == 1
    (tmp_path / "weights").unlink()
    run_all(tmp_path / "ledger", [job])
    assert len(done) == 2


def test_a_missing_ledger_is_empty(tmp_path: Path) -> None:
    assert Ledger(tmp_path / "ledger").results == {}


def test_jobs_are_told_apart_by_all_that_changes_their_result() -> None:
    other = SMALL.with_bits(Bits(2, 2))
    variants = [JOB, replace(JOB, genotype=other), replace(JOB, steps=3), replace(JOB, seed=1), replace(JOB, ghn="x")]
    assert len({job.name for job in variants}) == len(variants)


def test_a_job_of_the_same_network_has_the_same_name() -> None:
    left, right = SMALL.reduction[0]
    assert replace(JOB, genotype=replace(SMALL, reduction=((right, left),))).name == JOB.name


def test_a_job_returns_the_accuracy_of_the_weights_it_saves(tmp_path: Path, digits_data: DataSet) -> None:
    path = tmp_path / "weights.safetensors"
    result = run_job(replace(JOB, weights=str(path)))
    plan = build_plan(SMALL, digits_data.image, 10)
    network = Network(plan, he_parameters(plan, torch.Generator()), (0.0, 1.0))
    network.load_state_dict(load_file(path))
    network.frozen = True
    assert result["job"] == JOB.name
    assert result["top1"] == pytest.approx(deployed_accuracy(network, digits_data.validation).top1)


def test_a_job_is_reproducible() -> None:
    first, again = (run_job(JOB) for _ in range(2))
    assert (first["top1"], first["top5"]) == (again["top1"], again["top5"])


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    found = {}
    for workers in (1, 2):
        with Pool(workers, Ledger(tmp_path / str(workers))) as pool:
            found[workers] = {job.name: result["top1"] for job, result in pool.run(some(3))}
    assert found[1] == found[2]
    assert Ledger(tmp_path / "2").results.keys() == found[2].keys()
