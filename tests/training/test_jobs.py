"""Jobs: what tells one from another, and what a run of one gives."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from qnas.data.images import DataSet
from qnas.data.registry import find_data
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.initial import he_parameters
from qnas.network.module import Network
from qnas.quant.scheme import Bits
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training.jobs import Job, JobName, attempted, data_of, one_thread, run_job
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

SMALL = Genotype(3, 1, 4, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "skip", 1)),), Bits(4, 4))
JOB = Job(SMALL, Recipe(2), 0, "digits", "", "cpu")


def test_jobs_are_told_apart_by_all_that_changes_their_result() -> None:
    other = SMALL.with_bits(Bits(2, 2))
    variants = [
        JOB,
        replace(JOB, genotype=other),
        replace(JOB, recipe=Recipe(3)),
        replace(JOB, recipe=Recipe(2, rate=0.02)),
        replace(JOB, seed=1),
        replace(JOB, ghn="x"),
    ]
    assert len({job.name for job in variants}) == len(variants)


def test_a_name_is_read_as_it_was_written() -> None:
    named = JobName.of(replace(JOB, seed=3, ghn="x").name)
    assert named == (SMALL.key, 2, 3, "predicted", JOB.recipe.digest)
    for wrong in ("", "7", "a/b", "a/2/0/random", "a/b/0/random/c"):
        with pytest.raises(ValueError, match=r"unpack|invalid literal"):
            JobName.of(wrong)


def test_a_job_of_the_same_network_has_the_same_name() -> None:
    left, right = SMALL.reduction[0]
    assert replace(JOB, genotype=replace(SMALL, reduction=((right, left),))).name == JOB.name


def test_a_job_returns_the_accuracy_of_the_weights_it_saves(tmp_path: Path, digits_data: DataSet) -> None:
    path = tmp_path / "weights.safetensors"
    result = run_job(replace(JOB, output=str(path)))
    plan = build_plan(SMALL, digits_data.task)
    network = Network(plan, he_parameters(plan, torch.Generator()), (0.0, 1.0))
    network.restored(load_file(path))
    assert result["job"] == JOB.name
    assert result["top1"] == pytest.approx(deployed_accuracy(network, digits_data.validation).top1)


def test_the_test_images_are_read_only_where_that_is_asked_for(tmp_path: Path, digits_data: DataSet) -> None:
    path = tmp_path / "weights.safetensors"
    assert "test_top1" not in run_job(JOB)
    result = run_job(replace(JOB, output=str(path), test=True))
    plan = build_plan(SMALL, digits_data.task)
    network = Network(plan, he_parameters(plan, torch.Generator()), (0.0, 1.0))
    network.restored(load_file(path))
    assert result["test_top1"] == pytest.approx(deployed_accuracy(network, digits_data.test).top1)


def test_the_losses_of_a_tested_run_are_kept_by_its_tenths(digits_data: DataSet) -> None:
    assert "losses" not in run_job(JOB)
    told: list[torch.Tensor] = []
    train_network(SMALL, digits_data, Recipe(20), 0, report=told.append)
    expected = torch.stack(told).view(10, 2).mean(1)
    assert run_job(replace(JOB, recipe=Recipe(20), test=True))["losses"] == pytest.approx(expected.tolist(), abs=1e-4)
    assert len(run_job(replace(JOB, test=True))["losses"]) == 2


def test_a_network_that_becomes_no_number_is_a_failure_with_its_reason() -> None:
    wild = replace(JOB, recipe=Recipe(30, rate=1e30))
    found = attempted(run_job, wild)
    assert (found["job"], found["failed"].endswith("is no number after training")) == (wild.name, True)
    assert attempted(run_job, JOB)["top1"] > 0


def test_a_job_computes_on_its_threads() -> None:
    seen: list[int] = []

    def noted(_: Job) -> Result:
        seen.append(torch.get_num_threads())
        return {"top1": 50.0}

    before = torch.get_num_threads()
    for threads in (3, 0):
        attempted(noted, replace(JOB, threads=threads))
    assert seen == [3, before]
    assert torch.get_num_threads() == before


def test_other_errors_of_a_job_are_no_failures() -> None:
    def broken(job: Job) -> Result:
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        attempted(broken, JOB)


def test_images_that_changed_since_the_run_began_are_refused(tmp_path: Path) -> None:
    rng, folder = np.random.default_rng(0), tmp_path / "images"
    for place in range(40):
        path = folder / "ab"[place % 2] / f"{place}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    job = replace(JOB, data=str(folder), images=json.dumps(find_data(str(folder)).fingerprint))
    data_of.cache_clear()
    assert "top1" in run_job(job)
    Image.fromarray(rng.integers(0, 256, (8, 8), np.uint8)).save(path)
    data_of.cache_clear()
    with pytest.raises(QnasError, match=r"^The images have changed since the run began, got other pixels in .*begin"):
        run_job(job)


def test_a_job_is_reproducible() -> None:
    first, again = (run_job(JOB) for _ in range(2))
    assert (first["top1"], first["top5"]) == (again["top1"], again["top5"])


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    found = {}
    jobs = [replace(JOB, recipe=Recipe(steps)) for steps in range(1, 4)]
    for workers in (1, 2):
        with Pool(run_job, Ledger(tmp_path / str(workers)), workers, one_thread) as pool:
            found[workers] = {job.name: result["top1"] for job, result in pool.run(jobs)}
    assert found[1] == found[2]
    assert Ledger(tmp_path / "2").results.keys() == found[2].keys()
