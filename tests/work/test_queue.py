"""Tasks that queues share out through a journal, and through PostgreSQL where QNAS_TEST_POSTGRES holds its URL."""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import pytest
from optuna.distributions import CategoricalDistribution
from optuna.storages import RDBStorage
from optuna.trial import TrialState

from qnas.errors import QnasError
from qnas.work.queue import BEAT, GRACE, Directions, StudyAddress, WorkQueue, new_worker, payload_of, with_tables

Opened = Callable[..., WorkQueue]


@pytest.fixture(params=["journal", pytest.param("postgres", marks=pytest.mark.slow)])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    """Opens queues of one study that is empty when a test begins, each of another worker unless told otherwise."""
    storage = str(tmp_path / "journal")
    if request.param == "postgres" and not (storage := os.environ.get("QNAS_TEST_POSTGRES", "")):
        pytest.skip("QNAS_TEST_POSTGRES holds no URL")
    name, queues = f"test-{uuid4()}", []

    def open_one(
        worker: str = "",
        directions: Directions = ("maximize",),
        beat: float = BEAT,
        grace: float = GRACE,
        kind: type[WorkQueue] = WorkQueue,
    ) -> WorkQueue:
        queues.append(kind(StudyAddress(storage, name, worker or new_worker()), directions, beat, grace))
        return queues[-1]

    yield open_one
    for queue in queues:
        queue.close()


@pytest.fixture
def mates(opened: Opened) -> tuple[WorkQueue, WorkQueue]:
    """Two queues of a run, neither of which takes the other for dead."""
    one = opened()
    return one, beside(one, opened)


def beside(one: WorkQueue, opened: Opened, kind: type[WorkQueue] = WorkQueue) -> WorkQueue:
    """Another queue of the same run: of its own worker in a database, of the same on a journal."""
    return opened("" if one.address.shared else one.address.worker, kind=kind)


class Interrupted(WorkQueue):
    """A queue beside which others act just before and just after it makes a trial."""

    before: Callable[[], object] = staticmethod(lambda: None)
    after: Callable[[], object] = staticmethod(lambda: None)

    def _add(self, task: str, state: TrialState, trial: dict[str, Any]) -> int:
        self.before()
        number = super()._add(task, state, trial)
        self.after()
        return number


def claimed(queue: WorkQueue, task: str) -> int:
    number = queue.claim(task)
    assert number is not None
    return number


def states(queue: WorkQueue) -> list[TrialState]:
    return [trial.state for trial in queue.study.get_trials(deepcopy=False)]


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
    for queue in mates:
        assert queue.done["a"].values == [3.5]
        assert payload_of(queue.done["a"])["images"] == 7
        assert payload_of(queue.done["a"])["score"] == [1.0, 2.0]
        assert queue.running == {}


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


def test_where_two_claim_at_once_the_earlier_counts(opened: Opened) -> None:
    one, first = opened(), []
    other = beside(one, opened, Interrupted)
    other.before = lambda: first.append(one._add("a", TrialState.RUNNING, {}))  # between the other's look and its claim
    assert other.claim("a") is None
    assert states(one) == [TrialState.RUNNING, TrialState.FAIL]
    one.finish(first[0], [1.0])
    other.refresh()
    assert other.done["a"].number == first[0]


def test_the_earlier_of_two_claims_counts_for_who_made_it(opened: Opened) -> None:
    other = opened()
    one = beside(other, opened, Interrupted)
    one.after = lambda: other._add("a", TrialState.RUNNING, {})
    assert one.claim("a") == 0


def test_a_claim_that_comes_after_anothers_result_is_withdrawn(opened: Opened) -> None:
    one = opened()
    other = beside(one, opened, Interrupted)
    other.before = lambda: one.finish(one._add("a", TrialState.RUNNING, {}), [1.0])
    assert other.claim("a") is None
    assert states(one) == [TrialState.COMPLETE, TrialState.FAIL]


def test_many_claims_at_once_give_each_task_to_one(opened: Opened) -> None:
    first = opened()
    queues = [first, *(beside(first, opened) for _ in range(2))]
    tasks, taken = [str(number) for number in range(8)], []

    def work(queue: WorkQueue) -> None:
        for task in tasks:
            number = queue.claim(task)
            if number is not None:
                taken.append(task)
                queue.finish(number, [0.0])

    threads = [Thread(target=work, args=[queue]) for queue in queues]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken) == tasks
    first.refresh()
    assert sorted(first.done) == tasks


def test_the_task_of_a_dead_worker_is_taken_up_under_its_number(opened: Opened) -> None:
    dead = opened(beat=0.05)
    number = claimed(dead, "a")
    dead.close()
    other, deadline = opened(beat=0.05, grace=0.5), time.monotonic() + 30
    while (found := other.claim("a")) is None and time.monotonic() < deadline:
        time.sleep(0.05)
    assert found == number
    other.finish(number, [4.0])
    assert states(other) == [TrialState.COMPLETE]
    assert opened().done["a"].value == 4


@pytest.mark.slow
def test_a_database_worker_who_gives_signs_of_life_keeps_its_task(opened: Opened) -> None:
    one = opened(beat=0.05)
    if not one.address.shared:
        pytest.skip("on a journal whoever is of another run is dead")
    claimed(one, "a")
    other, end = opened(beat=0.05, grace=1.5), time.monotonic() + 4
    while time.monotonic() < end:
        assert other.claim("a") is None
        time.sleep(0.1)


def test_the_first_result_stays(mates: tuple[WorkQueue, WorkQueue]) -> None:
    one, other = mates
    number = claimed(one, "a")
    one.finish(number, [1.0], remark="first")
    other.finish(number, [2.0], remark="second")
    for queue in mates:
        queue.refresh()
        assert (queue.done["a"].value, payload_of(queue.done["a"])["remark"]) == (1, "first")


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
    first, left = claimed(one, "a"), claimed(one, "b")
    one.finish(first, [1.0], images=7)
    assert one.claim("a") is None
    other = alone()  # where nobody knows of the claim that was left
    assert other.claim("a") is None
    other.finish(claimed(other, "b"), [2.0])
    assert {task: trial.value for task, trial in alone().done.items()} == {"a": 1, "b": 2}
    assert payload_of(alone().done["a"]) == payload_of(one.done["a"]) == {"images": 7}
    assert states(other) == [TrialState.COMPLETE] * 2
    assert left not in (first, None)


def test_who_is_alone_takes_up_what_several_had_begun(tmp_path: Path) -> None:
    address = StudyAddress(str(tmp_path / "journal"), "study", "dead")
    number = claimed(WorkQueue(address), "a")
    alone = WorkQueue(replace(address, worker="me", alone=True))
    assert alone.claim("a") == number
    alone.finish(number, [3.0])
    assert states(alone) == [TrialState.COMPLETE]
    assert WorkQueue(address).done["a"].value == 3


@pytest.mark.parametrize(
    "storage", ["postgresql://qnas@127.0.0.1:1/qnas", "nonsense://host/name", "://", "postgresql://u@h:port/name"]
)
def test_a_storage_that_cannot_be_opened_is_refused_in_a_sentence(storage: str) -> None:
    with pytest.raises(QnasError, match=r"^A `storage` is .*; [^\n]*$") as caught:
        WorkQueue(StudyAddress(storage, "study", "me"))
    assert storage in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("storage", "shared"), [("sqlite:///x", True), ("postgresql://a/b", True), ("/a/b", False)])
def test_a_database_is_shared_and_a_journal_is_not(storage: str, shared: bool) -> None:
    assert StudyAddress(storage, "study", "me").shared == shared


class IntegrityError(Exception):
    """As SQLAlchemy calls it."""


class Late:
    """Connects to tables that another host has just made: the first time there is an error."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = [*errors]

    def __call__(self) -> RDBStorage:
        if self.errors:
            raise self.errors.pop(0)
        return RDBStorage("sqlite://")


def test_hosts_that_begin_at_once_share_the_tables_of_one() -> None:
    assert isinstance(with_tables(Late(IntegrityError("duplicate key")), pause=0.0), RDBStorage)


@pytest.mark.parametrize("errors", [[OSError("no route")], [IntegrityError("one"), IntegrityError("two")]])
def test_another_error_of_a_database_is_none_to_wait_for(errors: list[Exception]) -> None:
    with pytest.raises(type(errors[-1]), match=str(errors[-1])):
        with_tables(Late(*errors), pause=0.0)


def test_workers_are_told_apart() -> None:
    assert len({new_worker() for _ in range(100)}) == 100
