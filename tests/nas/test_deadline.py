"""Deadlines: full runs are as long as there is time, by what short runs took, and stay so."""

import json
from itertools import islice
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.nas import deadline
from qnas.nas.candidate import Candidate
from qnas.nas.deadline import FINISH, Deadline, lengthened
from qnas.nas.rungs import Rung
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.scores.predicted import Score
from qnas.space.space import find_space

SHORT, FULL = Rung("calibrate", 10), Rung("finish", 120, keep=True)
ENDS = Deadline(ends=1_000.0, gain=1.5, rounds=2, job=1.0, rest=38.0, least=30)


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deadline.time, "monotonic", lambda: 600.0)


def candidates(count: int) -> list[Candidate]:
    space = find_space("tiny")
    drawn = islice(stream(space, 0, bits=Bits(4, 4)), count)
    plans = [(one, build_plan(one, space.task)) for one in drawn]
    return [Candidate.of(one, plan, costs(plan), Score(50.0, 1.0, 0.0)) for one, plan in plans]


def test_full_runs_end_with_the_time() -> None:
    steps = ENDS.steps(6.0, 10)  # one second of which is not its steps
    assert steps == 540
    assert ENDS.rounds * (steps * 0.5 / ENDS.gain + ENDS.job) == pytest.approx(1_000 - 600 - ENDS.rest)
    assert ENDS.steps(1.0, 10) == ENDS.rounds * 2700  # no more than half of a run is something else
    assert ENDS.steps(1_000.0, 10) == ENDS.least


def test_the_slowest_of_whom_trains_in_full_says_how_many_steps_there_is_time_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = candidates(3)
    seconds = {one.key: value for one, value in zip(made, (4.0, 6.0, 9.0), strict=True)}
    with caplog.at_level("INFO", "qnas"):
        found = lengthened(tmp_path, ENDS, seconds, SHORT, FULL, made[:2])
    assert caplog.messages == ["Full runs of 540 steps instead of 120: so many fit into the time that is left."]
    assert found == Rung("finish", ENDS.steps(6.0, 10), keep=True)
    assert json.loads((tmp_path / FINISH).read_text()) == {"steps": 540}


def test_full_runs_are_longer_than_short_ones_however_late_it_is(tmp_path: Path) -> None:
    """Else the longest run of a network would be its short one."""
    (made,) = candidates(1)
    never = Deadline(ends=0.0, gain=1.0, rounds=1, job=0.0, rest=0.0, least=3)
    assert lengthened(tmp_path, never, {made.key: 5.0}, SHORT, FULL, [made]).steps == SHORT.steps + 1


def test_what_was_decided_stays(tmp_path: Path) -> None:
    made = candidates(1)
    first = lengthened(tmp_path, ENDS, {made[0].key: 5.0}, SHORT, FULL, made)
    assert lengthened(tmp_path, ENDS, {made[0].key: 1.0}, SHORT, FULL, made) == first
    assert lengthened(tmp_path, None, {}, SHORT, FULL, made) == first


def test_without_a_deadline_or_short_runs_what_was_planned_stays(tmp_path: Path) -> None:
    made = candidates(1)
    assert lengthened(tmp_path, None, {made[0].key: 5.0}, SHORT, FULL, made) == FULL
    assert lengthened(tmp_path, ENDS, {}, SHORT, FULL, made) == FULL
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"steps": 10}', '{"steps": "many"}'])
def test_a_damaged_decision_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / FINISH).write_text(content)
    with pytest.raises(QnasError, match="delete it to train as long as was planned"):
        lengthened(tmp_path, ENDS, {}, SHORT, FULL, candidates(1))
