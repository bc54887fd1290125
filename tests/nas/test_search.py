"""Whole tiny searches in a folder: their result, and a run that is continued, killed or changed."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
from filelock import FileLock
from PIL import Image

from qnas.errors import QnasError
from qnas.scores.race import Race
from qnas.network.build import build_plan
from qnas.network.costs import costs, parameters
from qnas.quant.scheme import Bits
from qnas.training import jobs, stages
from qnas.work.queue import WorkQueue, StudyAddress
from qnas.nas.candidate import Candidate
from qnas.training.jobs import Ledger
from qnas.nas.budgets import Limits
from qnas.nas.search import Prepared, default_folder, load_pick, open_run, prepare, read_run, search
from qnas.nas.settings import SearchSettings
from qnas.space.genotype import Genotype
from qnas.training.qat import deployed_accuracy

SETTINGS = SearchSettings(
    Bits(4, 4), Limits(params=12_000, weight_bytes=8_000), trials=6, survivors=3, top=2, steps=12, seed=3
)


class SilentBar:
    def update(self, share: float, remark: str) -> None:
        assert 0 <= share <= 1


def silent(title: str) -> AbstractContextManager[SilentBar]:
    return nullcontext(SilentBar())


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SETTINGS)


def run(folder: Path, prepared: Prepared, settings: SearchSettings = SETTINGS) -> list[Candidate]:
    open_run(prepared.identity, folder)
    return search(settings, prepared, folder, "cpu", 1, silent)


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
    picks = [{name: value for name, value in pick.items() if name != "front"} for pick in unbroken.result["picks"]]
    assert json.loads(json.dumps([pick.to_json() for pick in unbroken.picks])) == picks


def test_every_candidate_keeps_the_budgets(unbroken: Run, prepared: Prepared) -> None:
    for one in unbroken.result["picks"] + unbroken.result["candidates"]:
        plan = build_plan(Genotype.from_json(one["genotype"]), prepared.data.image, 10)
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
        network = load_pick(unbroken.folder, pick.genotype, prepared.data)
        assert deployed_accuracy(network, prepared.data.test).top1 == pick.test
        assert deployed_accuracy(network, prepared.data.validation).top1 == pick.trained[12]


def test_the_calibration_is_stated(unbroken: Run) -> None:
    assert unbroken.result["calibration"]["labels"] == 6
    assert 0 <= unbroken.result["calibration"]["mean_absolute_error"] < 100
    assert -1 <= unbroken.result["calibration"]["tau"] <= 1
    assert -1 <= unbroken.result["calibration"]["tau_params"] <= 1


def refuse(job: jobs.Job) -> dict[str, Any]:
    raise AssertionError(f"{job.name} was run again")


def test_the_same_call_again_trains_nothing_and_gives_the_same_picks(
    unbroken: Run, prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "run_job", refuse)
    again = run(unbroken.folder, prepared)
    assert [pick.to_json() for pick in again] == [pick.to_json() for pick in unbroken.picks]
    assert found_in(unbroken.folder) == unbroken.result


def test_the_same_call_again_scores_nothing(unbroken: Run, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_score(*anything: object) -> None:
        raise AssertionError("a network was scored again")

    monkeypatch.setattr(stages, "prepare_race", no_score)
    assert len(run(unbroken.folder, prepared)) == 2


@pytest.mark.parametrize("after", [2, 10])
def test_a_run_killed_in_training_ends_as_if_unbroken(
    tmp_path: Path, prepared: Prepared, unbroken: Run, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    left, original = [after], jobs.run_job

    def killed(job: jobs.Job) -> dict[str, Any]:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(job)

    with monkeypatch.context() as patch:
        patch.setattr(jobs, "run_job", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", prepared)
    run(tmp_path / "run", prepared)
    assert found_in(tmp_path / "run") == unbroken.result


def test_a_run_killed_while_screening_ends_as_if_unbroken(
    tmp_path: Path, prepared: Prepared, unbroken: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    left, original = [3], Race.run

    def killed(*anything: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return original(*anything)

    with monkeypatch.context() as patch:
        patch.setattr(Race, "run", killed)
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path / "run", prepared)
    run(tmp_path / "run", prepared)
    assert found_in(tmp_path / "run") == unbroken.result


def test_a_second_search_in_the_same_folder_at_the_same_time_is_refused(unbroken: Run, prepared: Prepared) -> None:
    with (
        FileLock(unbroken.folder / "run.lock"),
        pytest.raises(QnasError, match=r"One search at a time works in a folder, and one does in .*; wait for it"),
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
    open_run(prepare(bound).identity, tmp_path / "bound")
    (tmp_path / "bound" / "latency.jsonl").write_bytes((tmp_path / "free" / "latency.jsonl").read_bytes())
    search(bound, prepare(bound), tmp_path / "bound", "cpu", 1, silent)
    result = found_in(tmp_path / "bound")
    every = result["picks"] + result["candidates"]
    assert len(every) == 10
    assert all(0 < one["latency"] <= times[5] for one in every)


@pytest.mark.slow
def test_processes_find_what_one_process_finds(tmp_path: Path, prepared: Prepared, unbroken: Run) -> None:
    open_run(prepared.identity, tmp_path / "run")
    search(SETTINGS, prepared, tmp_path / "run", "cpu", 2, silent)
    assert found_in(tmp_path / "run") == unbroken.result


class Hosts:
    """Processes that search at once, each in a folder of its own, through one study of the database."""

    def __init__(self, folder: Path, storage: str) -> None:
        self.storage, self.name = storage, f"test-{uuid4()}"
        self.folders = [folder / host / self.name for host in ("left", "right")]
        self.running: list[subprocess.Popen[str]] = []

    def start(self, folder: Path, **options: int) -> subprocess.Popen[str]:
        given = {"trials": 12, "steps": 12, "top": 2, "max-params": 12_000, "workers": 1, **options}
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
    def board(self) -> Iterator[WorkQueue]:
        """Of the proposals."""
        board = WorkQueue(StudyAddress(self.storage, self.name, "onlooker"))
        yield board
        board.close()


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
    with hosts.board() as board:
        assert len({trial.user_attrs["owner"] for trial in board.done.values()}) == 2
    own = [set(Ledger(folder / "training.jsonl").results) for folder in hosts.folders]
    assert own[0] & own[1] == {name for name in own[0] | own[1] if "/12/" in name}  # which leave weights on each host


@pytest.mark.slow
def test_a_host_finishes_what_a_killed_one_leaves(hosts: Hosts) -> None:
    first = hosts.start(hosts.folders[0], trials=40)
    deadline = time.monotonic() + 120
    with hosts.board() as board:
        while len(board.done) < 5 and time.monotonic() < deadline:
            time.sleep(0.1)
            board.refresh()
    second = hosts.start(hosts.folders[1], trials=40)
    first.kill()
    ended(second)
    assert found_in(hosts.folders[1])["screened"] == 40
    assert not (hosts.folders[0] / "result.json").exists()


@pytest.mark.slow
def test_other_settings_under_the_same_name_in_a_database_are_refused(hosts: Hosts, prepared: Prepared) -> None:
    with hosts.board() as board:
        board.study.set_user_attr("settings", prepared.identity)
    other = replace(SETTINGS, trials=7)
    open_run(prepare(other).identity, hosts.folders[0])
    with pytest.raises(QnasError, match=r"differs \(.*trials: 6 there, 7 now\)"):
        search(other, prepare(other), hosts.folders[0], "cpu", 1, silent, hosts.storage)


def test_a_database_that_does_not_answer_ends_the_search(tmp_path: Path, prepared: Prepared) -> None:
    open_run(prepared.identity, tmp_path / "run")
    with pytest.raises(QnasError, match=r"^A --storage is"):
        search(SETTINGS, prepared, tmp_path / "run", "cpu", 1, silent, "postgresql://qnas@127.0.0.1:1/qnas")


def test_other_settings_are_refused_with_what_differs(unbroken: Run) -> None:
    before = (unbroken.folder / "run.json").read_bytes()
    other = prepare(replace(SETTINGS, trials=7, limits=Limits(params=40_000)))
    with pytest.raises(QnasError, match=r"differs .*; give the old settings, or another --out") as caught:
        open_run(other.identity, unbroken.folder)
    assert "trials: 6 there, 7 now" in str(caught.value)
    assert "'params': 12000" in str(caught.value)
    assert "'params': 40000" in str(caught.value)
    assert (unbroken.folder / "run.json").read_bytes() == before


def test_the_same_settings_are_accepted(unbroken: Run, prepared: Prepared) -> None:
    open_run(prepared.identity, unbroken.folder)


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path, prepared: Prepared) -> None:
    (tmp_path / "letter.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(QnasError, match=r"holds other files; name another --out"):
        open_run(prepared.identity, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_an_empty_folder_becomes_a_run_folder(tmp_path: Path, prepared: Prepared) -> None:
    open_run(prepared.identity, tmp_path)
    assert read_run(tmp_path)["settings"]["trials"] == 6


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"settings": 3}'])
def test_a_damaged_run_file_is_refused(tmp_path: Path, prepared: Prepared, content: str) -> None:
    (tmp_path / "run.json").write_text(content, encoding="utf-8")
    with pytest.raises(QnasError, match=r"run.json cannot be read .*; name the folder of a run"):
        open_run(prepared.identity, tmp_path)


def test_the_default_folder_is_told_by_the_settings(prepared: Prepared) -> None:
    folder = default_folder(SETTINGS, prepared)
    other = replace(SETTINGS, seed=4)
    assert folder.parent == Path("runs")
    assert folder.name.startswith("digits-w4a4-")
    assert default_folder(SETTINGS, prepared) == folder
    assert default_folder(other, prepare(other)) != folder


def test_a_checkpoint_of_other_classes_is_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(10):
            Image.new("L", (8, 8), number).save(tmp_path / "mine" / name / f"{number}.png")
    with pytest.raises(QnasError, match=r"predicts 10 classes, data set 'mine' has 2; train one with: qnas fit-ghn"):
        prepare(replace(SETTINGS, data=str(tmp_path / "mine")))


def test_an_impossible_budget_is_refused_before_anything_is_spent() -> None:
    with pytest.raises(QnasError, match=r"keeps --max-params 10: the smallest needs [\d,]+; raise the budget"):
        prepare(replace(SETTINGS, limits=Limits(params=10)))
