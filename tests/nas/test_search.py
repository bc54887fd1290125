"""Whole tiny searches in a folder: their result, and a run that is continued, killed or changed."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from threading import Thread
from typing import Any, NamedTuple
from uuid import uuid4

import numpy as np
import pytest
import torch
from filelock import FileLock

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.nas.candidate import Candidate
from qnas.nas.deadline import FINISH, Deadline
from qnas.nas.limits import Limits
from qnas.nas.picks import load_pick
from qnas.nas.planning import begun_with
from qnas.nas.prepare import Prepared, open_prepared, prepare
from qnas.nas.result import read_result
from qnas.nas.rungs import rungs_of
from qnas.nas.screen import Scorer
from qnas.nas.search import MakeScorer, Means, foresight_of, of_first_host, search
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs, parameters
from qnas.network.grids import Grids
from qnas.network.initial import Predictor
from qnas.network.instructions import instructions
from qnas.network.plan import Plan
from qnas.quant.choices import GridChoice
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.scores.outlook import POWERS
from qnas.scores.predicted import Score
from qnas.scores.race import Outcome, Racer
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.training.jobs import Job, run_job
from qnas.training.qat import deployed_accuracy
from qnas.training.recipe import Recipe
from qnas.work.ledger import Ledger, Result
from qnas.work.queue import StudyAddress, WorkQueue

SETTINGS = SearchSettings(
    Bits(4, 4),
    Limits(params=12_000, weight_bytes=8_000),
    trials=6,
    survivors=3,
    top=2,
    recipe=Recipe(steps=12),
    seed=3,
)


def checked(stage: str, share: float, remark: str) -> None:
    """Watches the progress."""
    assert stage in ("screen", "calibrate", "halve", "finish")
    assert 0 <= share <= 1


MEANS = Means(progress=checked)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SETTINGS)


def run(
    folder: Path,
    prepared: Prepared,
    settings: SearchSettings = SETTINGS,
    means: Means = MEANS,
    deadline: Deadline | None = None,
) -> list[Candidate]:
    open_prepared(prepared, folder)
    return search(settings, prepared, folder, means, deadline)


def found_in(folder: Path) -> dict[str, Any]:
    result: dict[str, Any] = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    return result


class Run(NamedTuple):
    """A finished run that nothing interrupted; not to be written to."""

    folder: Path
    picks: list[Candidate]
    result: dict[str, Any]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, prepared: Prepared) -> Run:
    folder = tmp_path_factory.mktemp("run")
    picks = run(folder, prepared)
    return Run(folder, picks, found_in(folder))


def test_the_result_has_the_picks_and_all_other_candidates(unbroken: Run) -> None:
    result = unbroken.result
    assert result["screened"] == 6
    assert len(result["picks"]) == 2
    assert len(result["candidates"]) == 4
    assert len({one["key"] for one in result["picks"] + result["candidates"]}) == 6


def test_the_returned_picks_are_those_of_the_result(unbroken: Run) -> None:
    picks = [
        {name: value for name, value in pick.items() if name not in ("front", "number")}
        for pick in unbroken.result["picks"]
    ]
    assert json.loads(json.dumps([pick.to_json() for pick in unbroken.picks])) == picks


def test_every_candidate_keeps_the_budgets(unbroken: Run, prepared: Prepared) -> None:
    for one in unbroken.result["picks"] + unbroken.result["candidates"]:
        plan = build_plan(Genotype.from_json(one["genotype"]), prepared.data.task)
        assert one["params"] == parameters(plan) <= 12_000
        assert one["weight_bytes"] == costs(plan).weight_bytes <= 8_000
        assert one["macs"] <= prepared.space.max_macs


def test_every_candidate_has_the_bits_that_were_asked_for(unbroken: Run) -> None:
    every = unbroken.result["picks"] + unbroken.result["candidates"]
    assert {one["genotype"]["bits"] for one in every} == {"w4a4"}


def test_each_stage_trained_as_many_as_it_should(unbroken: Run) -> None:
    every = unbroken.result["picks"] + unbroken.result["candidates"]
    counts = {steps: sum(steps in one["trained"] for one in every) for steps in ("1", "3", "12")}
    assert counts == {"1": 6, "3": 3, "12": 2}


def test_the_picks_are_the_best_after_a_full_run_best_first(unbroken: Run) -> None:
    trained = [pick["trained"]["12"] for pick in unbroken.result["picks"]]
    assert trained == sorted(trained, reverse=True)


def test_only_picks_were_held_against_the_test_images(unbroken: Run) -> None:
    assert all(0 <= pick["test"] <= 100 for pick in unbroken.result["picks"])
    assert all(one["test"] is None for one in unbroken.result["candidates"])


def test_the_test_accuracy_is_that_of_the_saved_weights(unbroken: Run, prepared: Prepared) -> None:
    for pick in unbroken.picks:
        network = load_pick(unbroken.folder, pick.genotype, prepared.data, Grids())
        assert deployed_accuracy(network, prepared.data.test).top1 == pick.test
        assert deployed_accuracy(network, prepared.data.validation).top1 == pick.trained[12]


def test_the_calibration_is_stated(unbroken: Run) -> None:
    assert unbroken.result["calibration"]["labels"] == 6
    assert 0 <= unbroken.result["calibration"]["mean_absolute_error"] < 100
    assert -1 <= unbroken.result["calibration"]["tau"] <= 1
    assert -1 <= unbroken.result["calibration"]["tau_params"] <= 1


def refuse(job: Job) -> Result:
    raise AssertionError(f"{job.name} was run again")


def no_scorer(space: SearchSpace, bits: Bits, data: DataSet, ghn: Predictor, seed: int, grid: GridChoice) -> Scorer:
    class Refusing:
        images = len(data.validation)

        def __call__(self, plan: Plan, most_missed: float) -> Outcome:
            raise AssertionError("a network was scored again")

    return Refusing()


def test_the_same_call_again_trains_nothing_and_gives_the_same_picks(unbroken: Run, prepared: Prepared) -> None:
    again = run(unbroken.folder, prepared, means=replace(MEANS, do=refuse))
    assert [pick.to_json() for pick in again] == [pick.to_json() for pick in unbroken.picks]
    assert found_in(unbroken.folder) == unbroken.result


def test_the_same_call_again_scores_nothing(unbroken: Run, prepared: Prepared) -> None:
    assert len(run(unbroken.folder, prepared, means=replace(MEANS, scorer=no_scorer))) == 2


@pytest.mark.parametrize("after", [2, 10])
def test_a_run_killed_in_training_ends_as_if_unbroken(
    tmp_path: Path, prepared: Prepared, unbroken: Run, after: int
) -> None:
    left = [after]

    def killed(job: Job) -> Result:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return run_job(job)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", prepared, means=replace(MEANS, do=killed))
    run(tmp_path / "run", prepared)
    assert found_in(tmp_path / "run") == unbroken.result


def test_a_run_killed_while_screening_ends_as_if_unbroken(tmp_path: Path, prepared: Prepared, unbroken: Run) -> None:
    class Killed(Racer):
        left = 3

        def __call__(self, plan: Plan, most_missed: float) -> Outcome:
            if not self.left:
                raise KeyboardInterrupt
            self.left -= 1
            return super().__call__(plan, most_missed)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", prepared, means=replace(MEANS, scorer=Killed))
    run(tmp_path / "run", prepared)
    assert found_in(tmp_path / "run") == unbroken.result


class Small:
    """Scores a network by its size, the more parameters the better."""

    images = 100

    def __init__(self, *given: Any) -> None:
        pass

    def __call__(self, plan: Plan, most_missed: float) -> Outcome:
        top1 = parameters(plan) / 1_000
        return Outcome(Score(top1, 3 - top1 / 40, top1 / 50 - 1), self.images, True)


def test_a_candidate_that_fails_is_noted_with_the_reason_and_the_run_goes_on(tmp_path: Path) -> None:
    reasons: dict[str, str] = {}

    def do(job: Job) -> Result:
        if not reasons:
            reasons[job.genotype.key] = "its accuracy is no number"
            return {"job": job.name, "top1": float("nan")}
        if job.output and len(reasons) == 1:
            reasons[job.genotype.key] = "out of memory"
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.00 GiB")
        return run_job(job) if job.output else {"job": job.name, "top1": float(job.genotype.channels)}

    settings = replace(SETTINGS, recipe=Recipe(steps=2), top=1)
    (pick,) = run(tmp_path / "run", prepare(settings), settings, replace(MEANS, scorer=Small, do=do))
    result = found_in(tmp_path / "run")
    assert {one["key"]: one["failed"] for one in result["candidates"] if "failed" in one} == reasons
    assert pick.key == result["picks"][0]["key"] not in reasons
    rows = [json.loads(line) for line in (tmp_path / "run" / "training.jsonl").read_bytes().splitlines()]
    assert {row["job"].split("/")[0]: row["failed"] for row in rows if "failed" in row} == reasons
    assert read_result(tmp_path / "run") == result


def test_ten_failures_in_a_row_stop_the_run_and_the_same_command_tries_again(
    tmp_path: Path, prepared: Prepared
) -> None:
    def broken(job: Job) -> Result:
        raise MemoryError

    settings = replace(SETTINGS, trials=12, labels=12)
    means = replace(MEANS, scorer=Small, do=broken)
    with pytest.raises(QnasError, match=r"10 networks in a row did, .*out of memory.*; the same command tries again"):
        run(tmp_path / "run", prepared, settings, means)
    assert len((tmp_path / "run" / "training.jsonl").read_bytes().splitlines()) == 10
    asked: list[Job] = []

    def do(job: Job) -> Result:
        asked.append(job)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "run", prepared, settings, replace(means, do=do))
    assert len(asked) == 1


def test_training_refuses_images_that_changed_since_the_run_began(tmp_path: Path, prepared: Prepared) -> None:
    asked: list[Job] = []

    def do(job: Job) -> Result:
        asked.append(job)
        return run_job(replace(job, images=job.images.replace('"train": ', '"train": 1')))

    with pytest.raises(QnasError, match="The images have changed since the run began, got other train in 'digits'"):
        run(tmp_path / "run", prepared, means=replace(MEANS, scorer=Small, do=do))
    assert [json.loads(job.images) for job in asked] == [prepared.data.fingerprint]


def test_whatever_scores_and_trains_can_be_put_in_their_place(tmp_path: Path, prepared: Prepared) -> None:
    trained: list[Job] = []

    def do(job: Job) -> Result:
        trained.append(job)
        if job.output:
            return {**run_job(job), "top1": job.genotype.channels}
        return {"job": job.name, "top1": float(job.genotype.channels)}

    made: list[tuple[Any, ...]] = []

    def scorer(*given: Any) -> Small:
        made.append(given)
        return Small()

    settings = replace(SETTINGS, trials=12, labels=4, survivors=2, top=1)
    kinds: MakeScorer = scorer
    other = prepare(settings)
    picks = run(tmp_path / "run", other, settings, replace(MEANS, scorer=kinds, do=do))
    result = found_in(tmp_path / "run")
    every = result["picks"] + result["candidates"]
    assert [one["score"] for one in every] == [one["params"] / 1_000 for one in every]
    assert [len({job.name for job in trained if job.recipe.steps == steps}) for steps in (1, 3, 12)] == [4, 2, 1]
    assert [pick.trained[12] for pick in picks] == [picks[0].genotype.channels]
    ((space, bits, data, ghn, seed, grid),) = made
    assert (space, bits, seed, grid.name) == (other.space, SETTINGS.bits, SETTINGS.seed, SETTINGS.recipe.grid)
    assert (data.name, ghn.config) == ("digits", other.checkpoint.ghn.config)


@pytest.mark.parametrize("familiar", [False, True])
def test_scores_that_no_table_tells_of_are_no_surprise_on_average(prepared: Prepared, familiar: bool) -> None:
    settings = replace(SETTINGS, minutes=1.0, usual_price=100.0)
    timed = prepare(settings)
    assert not timed.familiar  # the digits' hypernetwork has no table of its own
    drawn = islice(stream(timed.space, 0, bits=SETTINGS.bits), 4)
    made = [
        Candidate.of(one, plan, costs(plan), Score(60 + 5 * place, 1.0, 0.0))
        for place, (one, plan) in enumerate((one, build_plan(one, timed.space.task)) for one in drawn)
    ]
    foresight = foresight_of(settings, replace(timed, familiar=familiar), made)
    assert foresight is not None
    assert foresight.outlook.surprise is not None
    rows = foresight._rows(made, rungs_of(settings)[-1])
    bounded = foresight.outlook.surprise(rows[:, len(POWERS) : -1], rows[:, -1])
    assert abs(np.median(bounded)) > 0.1 if familiar else abs(np.median(bounded)) < 1e-9
    assert foresight_of(SETTINGS, prepared, made) is None


def test_a_second_search_in_the_same_folder_at_the_same_time_is_refused(unbroken: Run, prepared: Prepared) -> None:
    with (
        FileLock(unbroken.folder / "run.lock"),
        pytest.raises(
            QnasError, match=r"One run at a time works in a folder, and (one|process [0-9]+) does in .*; wait for it"
        ),
    ):
        run(unbroken.folder, prepared)
    assert len(run(unbroken.folder, prepared)) == 2


def test_without_costs_that_count_the_front_is_the_best_pick(unbroken: Run) -> None:
    trained = [pick["trained"]["12"] for pick in unbroken.result["picks"]]
    assert [pick["front"] for pick in unbroken.result["picks"]] == [value == max(trained) for value in trained]
    assert unbroken.result["pareto"] == []


def test_where_costs_count_the_picks_on_the_front_are_marked(tmp_path: Path) -> None:
    settings = replace(SETTINGS, pareto=("params",), top=3)
    run(tmp_path / "run", prepare(settings), settings)
    picks = found_in(tmp_path / "run")["picks"]
    assert found_in(tmp_path / "run")["pareto"] == ["params"]
    points = [(pick["trained"]["12"], pick["params"]) for pick in picks]
    for (value, size), pick in zip(points, picks, strict=True):
        better = [other for other in points if other[0] >= value and other[1] <= size and other != (value, size)]
        assert pick["front"] == (not better)
    assert any(pick["front"] for pick in picks)


@pytest.mark.slow
def test_a_latency_budget_is_kept(tmp_path: Path) -> None:
    settings = replace(SETTINGS, trials=10)
    free = replace(settings, pareto=("latency",))
    run(tmp_path / "free", prepare(free), free)
    result = found_in(tmp_path / "free")
    times = sorted(one["latency"] for one in result["picks"] + result["candidates"])
    assert times[0] > 0
    bound = replace(settings, limits=Limits(params=12_000, latency=times[5]))
    (tmp_path / "bound").mkdir()
    open_prepared(prepare(bound), tmp_path / "bound")
    (tmp_path / "bound" / "latency.jsonl").write_bytes((tmp_path / "free" / "latency.jsonl").read_bytes())
    search(bound, prepare(bound), tmp_path / "bound", MEANS)
    result = found_in(tmp_path / "bound")
    every = result["picks"] + result["candidates"]
    assert len(every) == 10
    assert all(0 < one["latency"] <= times[5] for one in every)


@pytest.mark.slow
def test_a_budget_of_instructions_is_kept_and_is_an_axis(tmp_path: Path, prepared: Prepared) -> None:
    free = replace(SETTINGS, trials=10, pareto=("instructions",))
    run(tmp_path / "free", prepare(free), free)
    result = found_in(tmp_path / "free")
    counts = sorted(one["instructions"] for one in result["picks"] + result["candidates"])
    assert counts[0] > 0
    bound = replace(SETTINGS, trials=10, limits=Limits(params=12_000, instructions=counts[5]))
    run(tmp_path / "bound", prepare(bound), bound)
    result = found_in(tmp_path / "bound")
    for one in result["picks"] + result["candidates"]:
        plan = build_plan(Genotype.from_json(one["genotype"]), prepared.space.task)
        assert one["instructions"] == instructions(plan) <= counts[5]


@pytest.mark.slow
def test_processes_find_what_one_process_finds(tmp_path: Path, prepared: Prepared, unbroken: Run) -> None:
    run(tmp_path / "run", prepared, means=replace(MEANS, workers=2))
    assert found_in(tmp_path / "run") == unbroken.result


@pytest.mark.slow
def test_full_runs_on_several_threads_are_the_same_in_any_process_and_after_a_kill(tmp_path: Path) -> None:
    wide = replace(SETTINGS, threads=2, top=1, minutes=1.0, usual_price=100.0, sampler="expected")
    ready = prepare(wide)
    run(tmp_path / "one", ready, wide)
    run(tmp_path / "two", ready, wide, replace(MEANS, workers=2))
    shutil.copytree(tmp_path / "one", tmp_path / "killed")
    ledger = tmp_path / "killed" / "training.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))  # the full run was under way
    for name in ("result.json", "picks"):
        path = tmp_path / "killed" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    run(tmp_path / "killed", ready, wide, replace(MEANS, workers=2))
    for other in ("two", "killed"):
        assert found_in(tmp_path / other) == found_in(tmp_path / "one")
        (first,), (second,) = ([*(tmp_path / name / "picks").iterdir()] for name in ("one", other))
        assert first.read_bytes() == second.read_bytes()


def test_full_runs_that_have_a_deadline_are_as_long_as_there_is_time_and_stay_so_after_a_kill(tmp_path: Path) -> None:
    timed = replace(SETTINGS, top=1, minutes=1.0, usual_price=100.0, sampler="expected")
    ready, folder = prepare(timed), tmp_path / "run"
    late = Deadline(ends=0.0, gain=1.0, rounds=1, job=0.0, rest=0.0, least=15)
    (pick,) = run(folder, ready, timed, deadline=late)
    assert json.loads((folder / FINISH).read_text()) == {"steps": 15}
    assert max(pick.trained) == 15 > SETTINGS.recipe.steps
    before, weights = found_in(folder), next(iter((folder / "picks").iterdir())).read_bytes()
    ledger = folder / "training.jsonl"
    ledger.write_text("".join(ledger.read_text().splitlines(keepends=True)[:-1]))
    (folder / "result.json").unlink()
    shutil.rmtree(folder / "picks")
    run(folder, ready, timed)
    assert found_in(folder) == before
    assert next(iter((folder / "picks").iterdir())).read_bytes() == weights


class Hosts:
    """Processes that search at once, each in a folder of its own, through one study of the database."""

    def __init__(self, folder: Path, storage: str) -> None:
        self.storage, self.name = storage, f"test-{uuid4()}"
        self.folders = [folder / host / self.name for host in ("left", "right")]
        self.running: list[subprocess.Popen[str]] = []

    def start(self, folder: Path, **options: float) -> subprocess.Popen[str]:
        given = {"trials": 12, "top": 2, "max-params": 12_000, "workers": 1, **options}
        given |= {} if "minutes" in options else {"steps": 12}
        words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
        command = [sys.executable, "-m", "qnas", "search", "--data", "digits", "--storage", self.storage]
        self.running.append(
            subprocess.Popen(
                [*command, "--out", str(folder), *words],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                text=True,
                cwd=folder.parents[1],
            )
        )
        return self.running[-1]

    @contextmanager
    def queue(self) -> Iterator[WorkQueue]:
        """Of the proposals."""
        queue = WorkQueue(StudyAddress(self.storage, self.name, "onlooker"))
        yield queue
        queue.close()


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[Hosts]:
    storage = os.environ.get("QNAS_TEST_POSTGRES", "")
    if not storage:
        pytest.skip("QNAS_TEST_POSTGRES holds no URL")
    made = Hosts(tmp_path, storage)
    yield made
    for process in made.running:
        process.kill()
        process.communicate()


def ended(process: subprocess.Popen[str]) -> None:
    _, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint


@pytest.mark.slow
def test_hosts_that_search_through_a_database_find_the_same_and_share_the_work(hosts: Hosts) -> None:
    for process in [hosts.start(folder) for folder in hosts.folders]:
        ended(process)
    left, right = (found_in(folder) for folder in hosts.folders)
    assert left == right
    assert left["screened"] == 12
    with hosts.queue() as queue:
        assert len({trial.user_attrs["owner"] for trial in queue.done.values()}) == 2
    own = [set(Ledger(folder / "training.jsonl").results) for folder in hosts.folders]
    assert own[0] & own[1] == {name for name in own[0] | own[1] if "/12/" in name}  # which leave weights on each host


@pytest.mark.slow
def test_hosts_that_are_given_time_share_one_plan(hosts: Hosts) -> None:
    for process in [hosts.start(folder, minutes=0.4, top=1, trials=6) for folder in hosts.folders]:
        ended(process)
    left, right = (found_in(folder) for folder in hosts.folders)
    assert left == right
    settings = [json.loads((folder / "run.json").read_text(encoding="utf-8"))["settings"] for folder in hosts.folders]
    assert settings[0] == settings[1]
    assert settings[0]["steps"] > 12


@pytest.mark.slow
def test_a_host_finishes_what_a_killed_one_leaves(hosts: Hosts) -> None:
    first = hosts.start(hosts.folders[0], trials=20)
    deadline = time.monotonic() + 120
    with hosts.queue() as queue:
        while len(queue.done) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
            queue.refresh()
    second = hosts.start(hosts.folders[1], trials=20)
    first.kill()
    ended(second)
    assert found_in(hosts.folders[1])["screened"] == 20
    assert not (hosts.folders[0] / "result.json").exists()


@pytest.mark.slow
def test_other_settings_under_the_same_name_in_a_database_are_refused(hosts: Hosts, prepared: Prepared) -> None:
    with hosts.queue() as queue:
        queue.study.set_user_attr("settings", prepared.identity)
    other = replace(SETTINGS, trials=7)
    with pytest.raises(QnasError, match=r"differs \(.*trials: 6 there, 7 now\)"):
        run(hosts.folders[0], prepare(other), other, replace(MEANS, storage=hosts.storage))


def test_the_first_host_plans_and_others_wait_for_its_plan(tmp_path: Path) -> None:
    address = StudyAddress(f"sqlite:///{tmp_path / 'hosts.db'}", "shared/plan", "first")
    planned = [replace(SETTINGS, recipe=Recipe(steps=steps), minutes=3.0, usual_price=7.0) for steps in (1000, 1040)]
    found = list[dict[str, Any]]()

    def slowly() -> SearchSettings:
        follower.start()
        time.sleep(0.3)
        return planned[0]

    def follow() -> None:
        found.append(of_first_host(replace(address, worker="second"), lambda: planned[1]))

    follower = Thread(target=follow)
    found.append(of_first_host(address, slowly))
    follower.join()
    assert found == [json.loads(json.dumps(planned[0].identity()))] * 2
    assert begun_with(planned[1], found[1], 0) == planned[0]


def test_a_database_that_does_not_answer_ends_the_search(tmp_path: Path, prepared: Prepared) -> None:
    with pytest.raises(QnasError, match=r"^A `storage` is"):
        run(tmp_path / "run", prepared, means=replace(MEANS, storage="postgresql://qnas@127.0.0.1:1/qnas"))
