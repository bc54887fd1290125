"""Jobs and their ledger: what was done is not done again, whatever a kill left of the file."""

import json
import os
import signal
import time
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.module import Network, he_parameters
from qnas.quant.scheme import Bits
from qnas.training import jobs
from qnas.work.queue import WorkQueue, StudyAddress
from qnas.training.jobs import Job, Ledger, Pool, SharedLedger, run_job
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


def test_known_results_are_taken_over_and_the_others_are_run(tmp_path: Path, done: list[str]) -> None:
    known = some(4)[1::2]
    run_all(tmp_path / "ledger", known)
    done.clear()
    found = [job.steps for job, _ in run_all(tmp_path / "ledger", some(4))]
    assert found == [1, 2, 3, 4]
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


def shared(folder: Path, owner: str) -> SharedLedger:
    """A ledger of one of several hosts that share a board."""
    return SharedLedger(folder / f"{owner}.jsonl", WorkQueue(StudyAddress(str(folder / "journal"), "training", "run")))


def test_hosts_share_jobs_out_and_both_see_all_results(tmp_path: Path, done: list[str]) -> None:
    ledgers, found = [shared(tmp_path, owner) for owner in ("left", "right")], {}

    def work(ledger: SharedLedger) -> None:
        with Pool(1, ledger) as pool:
            found[ledger.path.stem] = {job.name: result["top1"] for job, result in pool.run(some(12))}

    threads = [Thread(target=work, args=[ledger]) for ledger in ledgers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found["left"] == found["right"] == {job.name: float(job.steps) for job in some(12)}
    assert sorted(done) == sorted(job.name for job in some(12))
    own = [set(Ledger(ledger.path).results) for ledger in ledgers]
    assert own[0] | own[1] == set(done)
    assert own[0] & own[1] == set()


def test_a_job_that_another_host_is_at_is_left_to_it(tmp_path: Path, done: list[str]) -> None:
    left, right = shared(tmp_path, "left"), shared(tmp_path, "right")
    assert left.claim(JOB)
    assert not right.claim(JOB)
    assert not right.has(JOB)
    left.add({"job": JOB.name, "top1": 5.0})
    assert not right.claim(JOB)
    assert right.has(JOB)
    assert right.results[JOB.name] == {"job": JOB.name, "top1": 5.0}


def test_jobs_that_leave_weights_are_run_by_every_host(tmp_path: Path, done: list[str]) -> None:
    for owner in ("left", "right"):
        job = replace(JOB, weights=str(tmp_path / f"{owner}.weights"))
        with Pool(1, shared(tmp_path, owner)) as pool:
            assert [result["top1"] for _, result in pool.run([job])] == [2]
    assert done == [JOB.name] * 2


def test_a_host_that_comes_back_runs_nothing_again(tmp_path: Path, done: list[str]) -> None:
    for _ in range(2):
        with Pool(1, shared(tmp_path, "left")) as pool:
            assert len(list(pool.run(some(3)))) == 3
    assert len(done) == 3


@dataclass(frozen=True)
class Deadly(Job):
    """A job that kills its process, ``deaths`` times in all; ``data`` names where that is noted."""

    deaths: int = 0
    pause: float = 0.0


def run_deadly(job: Deadly) -> dict[str, Any]:
    time.sleep(job.pause)
    for death in range(job.deaths):
        marker = Path(f"{job.data}{death}")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return {"job": job.name, "top1": float(job.steps)}


def run_apart(pool: Pool, wanted: list[Job], monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    monkeypatch.setattr(jobs, "run_job", run_deadly)  # which processes find by its name
    with pool:
        return {job.name: result["top1"] for job, result in pool.run(wanted)}


def deadly(tmp_path: Path, steps: int, deaths: int, pause: float = 0.0) -> Deadly:
    return Deadly(SMALL, steps, 0, str(tmp_path / "killed"), "", "cpu", deaths=deaths, pause=pause)


@pytest.mark.slow
@pytest.mark.parametrize("ledger", ["own", "shared"])
def test_what_a_killed_process_was_doing_is_done_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: str
) -> None:
    original, refused = SharedLedger.claim, []

    def claim(self: SharedLedger, job: Job) -> bool:
        claimed = original(self, job)
        refused.extend([job] * (not claimed))
        assert len(refused) < 20, "a job is never taken up again"
        return claimed

    monkeypatch.setattr(SharedLedger, "claim", claim)
    pool = Pool(2, shared(tmp_path, "left") if ledger == "shared" else Ledger(tmp_path / "ledger"))
    wanted: list[Job] = [deadly(tmp_path, steps, deaths=steps == 2) for steps in range(1, 6)]
    assert run_apart(pool, wanted, monkeypatch) == {job.name: float(job.steps) for job in wanted}
    assert (tmp_path / "killed0").exists()


@pytest.mark.slow
def test_a_process_killed_while_nobody_waits_for_it_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "run_job", run_deadly)
    wanted: list[Job] = [deadly(tmp_path, steps, deaths=steps == 2, pause=steps == 2) for steps in range(1, 4)]
    found = []
    with Pool(2, Ledger(tmp_path / "ledger")) as pool:
        for job, _ in pool.run(wanted):
            found.append(job.steps)
            time.sleep(3)
    assert sorted(found) == [1, 2, 3]


@pytest.mark.slow
def test_processes_that_are_killed_again_and_again_end_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "MOST_DEATHS", 1)
    with pytest.raises(
        QnasError, match=r"were killed 2 times, .*; the same command continues it, with fewer --workers"
    ):
        run_apart(Pool(2, Ledger(tmp_path / "ledger")), [deadly(tmp_path, 1, deaths=9)], monkeypatch)


def note(folder: str, turn: int) -> None:
    """A task that kills its process in the first turn."""
    if turn == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    (Path(folder) / f"{turn} {os.getpid()}").touch()
    time.sleep(1)  # so that the other process has its turn


@pytest.mark.slow
def test_a_task_is_done_in_every_process_and_begun_anew_when_one_was_killed(tmp_path: Path) -> None:
    folder, turns, looks = tmp_path / "notes", count(), []
    folder.mkdir()
    with Pool(2, Ledger(tmp_path / "ledger")) as pool:
        pool.everywhere(note, lambda: (str(folder), next(turns)), lambda: looks.append(0))
    names = [path.name.split() for path in folder.iterdir()]
    assert [turn for turn, _ in names] == ["1", "1"]
    assert len({process for _, process in names}) == 2
    assert next(turns) == 2
    assert looks


def kill(*anything: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_task_whose_processes_are_killed_again_and_again_ends_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "MOST_DEATHS", 1)
    with pytest.raises(QnasError, match="were killed 2 times"), Pool(2, Ledger(tmp_path / "ledger")) as pool:
        pool.everywhere(kill, lambda: (), lambda: None)


@pytest.mark.slow
def test_processes_give_what_one_process_gives(tmp_path: Path) -> None:
    found = {}
    for workers in (1, 2):
        with Pool(workers, Ledger(tmp_path / str(workers))) as pool:
            found[workers] = {job.name: result["top1"] for job, result in pool.run(some(3))}
    assert found[1] == found[2]
    assert Ledger(tmp_path / "2").results.keys() == found[2].keys()
