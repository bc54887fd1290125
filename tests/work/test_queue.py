"""Tasks that boards share out through a journal, and through PostgreSQL where QNAS_TEST_POSTGRES holds its URL."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.trial import TrialState

from qnas.errors import QnasError
from qnas.work import queue as module
from qnas.work.queue import WorkQueue, StudyAddress, payload_of, new_worker

Opened = Callable[..., WorkQueue]


@pytest.fixture(params=["journal", pytest.param("postgres", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens boards of one study that is empty when a test begins, each of another owner unless told otherwise."""
    storage = str(tmp_path / "journal")
    if request.param == "postgres" and not (storage := os.environ.get("QNAS_TEST_POSTGRES", "")):
        pytest.skip("QNAS_TEST_POSTGRES holds no URL")
    name, boards = f"test-{uuid4()}", []

    def open_one(owner: str = "", directions: module.Directions = ("maximize",)) -> WorkQueue:
        boards.append(WorkQueue(StudyAddress(storage, name, owner or new_worker()), directions))
        return boards[-1]

    yield open_one
    for board in boards:
        board.close()


@pytest.fixture
def mates(opened: Opened) -> tuple[WorkQueue, WorkQueue]:
    """Two boards of a run, neither of which takes the other for dead."""
    one = opened()
    return one, opened("" if one.place.shared else one.place.owner)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives no sign of life is soon dead."""
    monkeypatch.setattr(module, "BEAT", 0.05)
    monkeypatch.setattr(module, "GRACE", 0.5)


def claimed(board: WorkQueue, task: str) -> int:
    number = board.claim(task)
    assert number is not None
    return number


def states(board: WorkQueue) -> list[TrialState]:
    return [trial.state for trial in board.study.get_trials(deepcopy=False)]


def test_a_claimed_task_cannot_be_claimed_by_another_that_lives(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    claimed(one, "a")
    assert other.claim("a") is None
    assert one.claim("a") is None
    assert other.claim("b") is not None
    assert states(one) == [TrialState.RUNNING] * 2


def test_a_finished_task_is_seen_by_others(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    one.finish(claimed(one, "a"), [3.5], images=7, score=[1.0, 2.0])
    assert "a" not in other.done
    other.refresh()
    for board in mates:
        assert board.done["a"].values == [3.5]
        assert payload_of(board.done["a"])["images"] == 7
        assert payload_of(board.done["a"])["score"] == [1.0, 2.0]
        assert board.running == {}


def test_a_finished_task_cannot_be_claimed(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    one.finish(claimed(one, "a"), [1.0])
    assert one.claim("a") is other.claim("a") is None
    assert states(one) == [TrialState.COMPLETE]


def test_whoever_comes_later_sees_what_was_done(opened: Opened) -> None:
    one = opened()
    for task in "abc":
        one.finish(claimed(one, task), [float(ord(task))])
    assert {task: trial.value for task, trial in opened().done.items()} == {"a": 97, "b": 98, "c": 99}


def test_a_trial_holds_what_it_was_claimed_with(opened: Opened) -> None:
    one = opened(directions=("maximize", "minimize"))
    space = {"kernel": CategoricalDistribution(("conv 3", 5))}
    number = one.claim(
        "a", params={"kernel": 5}, distributions=space, constraints={"budget": 0.5}, system_attrs={"generation": 2}
    )
    assert number is not None
    one.finish(number, [1.0, 2.0])
    found = opened(directions=("maximize", "minimize")).done["a"]
    assert (found.values, found.params, found.constraints) == ([1.0, 2.0], {"kernel": 5}, {"budget": 0.5})
    assert found.distributions == space
    assert found.system_attrs["generation"] == 2


def test_where_two_claim_at_once_the_earlier_counts(
    mates: tuple[WorkQueue, WorkQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = mates
    original, first = WorkQueue._add, []

    def late(board: WorkQueue, *arguments: object) -> int:
        if not first:
            first.append(original(one, "a", TrialState.RUNNING, {}))  # between the other's look and its claim
        return original(board, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkQueue, "_add", late)
    assert other.claim("a") is None
    assert states(one) == [TrialState.RUNNING, TrialState.FAIL]
    one.finish(first[0], [1.0])
    other.refresh()
    assert other.done["a"].number == first[0]


def test_the_earlier_of_two_claims_counts_for_who_made_it(
    mates: tuple[WorkQueue, WorkQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = mates
    original = WorkQueue._add

    def early(board: WorkQueue, *arguments: object) -> int:
        number = original(board, *arguments)  # type: ignore[arg-type]
        original(other, "a", TrialState.RUNNING, {})
        return number

    monkeypatch.setattr(WorkQueue, "_add", early)
    assert one.claim("a") == 0


def test_a_claim_that_comes_after_anothers_result_is_withdrawn(
    mates: tuple[WorkQueue, WorkQueue], monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = mates
    original, done = WorkQueue._add, []

    def late(board: WorkQueue, *arguments: object) -> int:
        if not done:
            done.append(original(one, "a", TrialState.RUNNING, {}))
            one.finish(done[0], [1.0])
        return original(board, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(WorkQueue, "_add", late)
    assert other.claim("a") is None
    assert states(one) == [TrialState.COMPLETE, TrialState.FAIL]


def test_many_claims_at_once_give_each_task_to_one(opened: Opened) -> None:
    first = opened()
    boards = [first, *(opened("" if first.place.shared else first.place.owner) for _ in range(2))]
    tasks, taken = [str(number) for number in range(8)], []

    def work(board: WorkQueue) -> None:
        for task in tasks:
            number = board.claim(task)
            if number is not None:
                taken.append(task)
                board.finish(number, [0.0])

    threads = [Thread(target=work, args=[board]) for board in boards]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == tasks
    first.refresh()
    assert sorted(first.done) == tasks


def test_the_task_of_a_dead_owner_is_taken_up_under_its_number(impatient: None, opened: Opened) -> None:
    dead = opened()
    number = claimed(dead, "a")
    dead.close()
    other, deadline = opened(), time.monotonic() + 30
    while (found := other.claim("a")) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == number
    other.finish(number, [4.0])
    assert states(other) == [TrialState.COMPLETE]
    assert opened().done["a"].value == 4


@pytest.mark.slow
def test_a_database_owner_who_gives_signs_of_life_keeps_its_task(
    impatient: None, monkeypatch: pytest.MonkeyPatch, opened: Opened
) -> None:
    one = opened()
    if not one.place.shared:
        pytest.skip("on a journal whoever is of another run is dead")
    monkeypatch.setattr(module, "GRACE", 1.5)
    claimed(one, "a")
    other, end = opened(), time.monotonic() + 4
    while time.monotonic() < end:
        assert other.claim("a") is None
        time.sleep(0.1)


def test_the_first_result_stays(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    number = claimed(one, "a")
    one.finish(number, [1.0], remark="first")
    other.finish(number, [2.0], remark="second")
    for board in mates:
        board.refresh()
        assert (board.done["a"].value, payload_of(board.done["a"])["remark"]) == (1, "first")


def test_tasks_that_stay_open_do_not_hide_later_results(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    held = claimed(one, "a")
    for task in "bcd":
        one.finish(claimed(one, task), [1.0])
    other.refresh()
    assert sorted(other.done) == ["b", "c", "d"]
    assert list(other.running) == ["a"]
    one.finish(held, [2.0])
    other.refresh()
    assert sorted(other.done) == ["a", "b", "c", "d"]
    assert other.running == {}


def test_who_is_alone_claims_finishes_and_goes_on(tmp_path: Path) -> None:
    def alone() -> WorkQueue:
        return WorkQueue(StudyAddress(str(tmp_path / "journal"), "study", new_worker(), alone=True))

    one = alone()
    one.finish(claimed(one, "a"), [1.0])
    left = claimed(one, "b")
    assert one.claim("a") is None
    other = alone()
    assert other.claim("a") is None
    assert other.claim("b") == left
    other.finish(left, [2.0])
    assert {task: trial.value for task, trial in alone().done.items()} == {"a": 1, "b": 2}
    assert states(other) == [TrialState.COMPLETE] * 2


@pytest.mark.parametrize(
    "storage", ["postgresql://qnas@127.0.0.1:1/qnas", "nonsense://host/name", "://", "postgresql://u@h:port/name"]
)
def test_a_storage_that_cannot_be_opened_is_refused_in_a_sentence(storage: str) -> None:
    with pytest.raises(QnasError, match=r"^A --storage is .*; [^\n]*$") as caught:
        WorkQueue(StudyAddress(storage, "study", "me"))
    assert storage in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("storage", "shared"), [("sqlite:///x", True), ("postgresql://a/b", True), ("/a/b", False)])
def test_a_database_is_shared_and_a_journal_is_not(storage: str, shared: bool) -> None:
    assert StudyAddress(storage, "study", "me").shared == shared


def test_owners_are_told_apart() -> None:
    assert len({new_worker() for _ in range(100)}) == 100
