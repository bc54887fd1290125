"""How long a search takes, by the pace of the machine: what is planned adds up, and fits into the time given."""

from dataclasses import replace
from itertools import islice
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from qnas.errors import QnasError
from qnas.nas import planning
from qnas.nas.foresight import Foresight
from qnas.nas.limits import Limits
from qnas.nas.planning import (
    WRITING,
    Estimate,
    Pace,
    begun_with,
    deadline_of,
    estimate,
    in_equal_time,
    measured,
    steps_within,
    told,
)
from qnas.nas.prepare import Prepared, prepare
from qnas.nas.proposer import proposer_for
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.training import run as training_run
from qnas.training.jobs import Job
from qnas.training.price import price
from qnas.training.recipe import Recipe
from qnas.training.run import EVALUATION

SETTINGS = SearchSettings(Bits(4, 4), Limits(params=12_000), recipe=Recipe(24, batch=32, calibration=1))
PACE = Pace(step=0.1, full_step=0.07, score=2.0, batch=32, passed=20.0, price=300.0)


def of_images(validation: int, test: int) -> Any:
    data = SimpleNamespace(validation=range(validation), test=range(test))
    return SimpleNamespace(data=data)


def test_a_step_of_a_full_run_is_paid_for_by_all_that_train_along() -> None:
    alone, two, many = (estimate(PACE, SETTINGS, of_images(0, 0), workers).each_step for workers in (1, 2, 12))
    assert alone == pytest.approx(0.1 * (12 / 12 + 6 / 4) + 0.07 * 3)
    assert two == pytest.approx(0.1 * (6 / 12 + 3 / 4) + 0.07 * 2)
    assert many == pytest.approx(0.1 * (1 / 12 + 1 / 4) + 0.07)


def test_more_than_half_of_the_training_goes_to_full_runs() -> None:
    for workers in (1, 2, 3, 4, 8):
        timed = in_equal_time(SETTINGS, workers, 0)
        each = estimate(PACE, timed, of_images(0, 0), workers).each_step
        assert -(-timed.top // workers) * PACE.full_step > 0.55 * each


@pytest.mark.parametrize(
    ("workers", "asked", "top", "threads"),
    [
        (1, 0, 1, 0),
        (2, 0, 1, 2),
        (3, 0, 1, 3),
        (4, 0, 2, 2),
        (5, 0, 2, 2),
        (16, 0, 3, 4),
        (2, 5, 5, 1),
        (4, 1, 1, 4),
        (2, 2, 2, 1),
    ],
)
def test_full_runs_share_the_processors(workers: int, asked: int, top: int, threads: int) -> None:
    timed = in_equal_time(SETTINGS, workers, asked)
    assert (timed.top, timed.survivors, timed.threads) == (top, top, threads)
    assert replace(timed, labels=12, survivors=6, top=3, sampler="auto", threads=0) == SETTINGS


def test_who_is_trained_in_full_had_a_short_run() -> None:
    assert [in_equal_time(SETTINGS, 8, top).labels for top in (0, 6, 8)] == [6, 6, 8]


@pytest.mark.parametrize(
    ("workers", "asked", "idle", "threads"),
    [(2, 0, 1.9, 2), (2, 0, 1.2, 1), (2, 0, 0.0, 1), (4, 1, 2.6, 3), (16, 0, 8.0, 3), (16, 0, 64.0, 4), (1, 0, 8.0, 0)],
)
def test_threads_do_not_wait_for_processors_that_others_use(
    workers: int, asked: int, idle: float, threads: int
) -> None:
    assert in_equal_time(SETTINGS, workers, asked, idle=idle).threads == threads


def test_a_front_has_a_full_run_for_every_process() -> None:
    for workers, top, threads in ((1, 1, 0), (2, 2, 1), (8, 3, 2)):
        timed = in_equal_time(replace(SETTINGS, pareto=("params",)), workers, 0)
        assert (timed.top, timed.threads) == (top, threads)


def test_a_gpu_has_a_full_run_for_every_process() -> None:
    for workers, top in ((1, 1), (2, 2), (8, 3)):
        timed = in_equal_time(SETTINGS, workers, 0, "cuda")
        assert (timed.top, timed.threads) == (top, 0)


def test_proposals_are_those_of_whom_most_is_expected_unless_a_sampler_is_named_or_costs_count() -> None:
    assert in_equal_time(SETTINGS, 2, 0).sampler == "expected"
    assert in_equal_time(replace(SETTINGS, pareto=("params",)), 2, 0).sampler == "random"
    assert in_equal_time(replace(SETTINGS, sampler="tpe"), 2, 0).sampler == "tpe"


def test_a_run_that_was_begun_keeps_its_plan() -> None:
    timed = replace(in_equal_time(SETTINGS, 2, 0), recipe=SETTINGS.recipe.of(777), usual_price=41.0)
    assert begun_with(SETTINGS, timed.identity(), 0) == timed
    assert begun_with(SETTINGS, timed.identity(), 7).top == 7
    assert begun_with(SETTINGS, {}, 0) == replace(SETTINGS, sampler="expected")


def test_a_plan_is_told_in_words() -> None:
    assert told(SETTINGS, Estimate(120.0, 10.0), 12) == (
        "200 networks are scored, 12 trained for 2 steps, 6 for 6, 3 for 24 (2.0 passes over the images); about 6 "
        "minutes."
    )
    timed = replace(in_equal_time(SETTINGS, 2, 0), usual_price=41.0)
    assert "6 trained for 2 steps, 1 for 24 (2.0 passes over the images), or as many as there is time for" in told(
        timed, Estimate(0, 1), 12
    )


def test_more_candidates_and_more_images_take_longer() -> None:
    usual = estimate(PACE, SETTINGS, of_images(100, 100), 1).fixed
    assert estimate(PACE, replace(SETTINGS, trials=400), of_images(100, 100), 1).fixed > usual
    assert estimate(PACE, SETTINGS, of_images(200, 100), 1).fixed > usual
    assert estimate(PACE, SETTINGS, of_images(100, 200), 1).fixed > usual
    assert estimate(replace(PACE, score=4.0), SETTINGS, of_images(100, 100), 1).fixed > usual
    assert usual > PACE.passed


@given(st.floats(0, 1e4), st.floats(1e-3, 10), st.floats(1, 1e5))
def test_what_is_planned_fits_and_one_more_step_does_not(fixed: float, each: float, seconds: float) -> None:
    expected = Estimate(fixed, each)
    if expected.seconds(1) > seconds:
        with pytest.raises(QnasError, match="give at least that"):
            steps_within(seconds, expected, 1)
        return
    steps = steps_within(seconds, expected, 1)
    assert expected.seconds(steps) <= seconds * (1 + 1e-9)
    assert expected.seconds(steps + 1) >= seconds * (1 - 1e-9)


def test_what_follows_full_runs_is_left_time_for() -> None:
    timed = replace(in_equal_time(SETTINGS, 2, 0), minutes=3.0, recipe=SETTINGS.recipe.of(240))
    images, none = of_images(640, 1280), of_images(0, 0)
    images.data.train = none.data.train = range(3_200)
    found, bare = (deadline_of(50.0, PACE, timed, one, 2) for one in (images, none))
    assert (found.ends, found.rounds, found.least) == (230.0, 1, 120)
    images.data.train = range(6_400)
    assert deadline_of(50.0, PACE, timed, images, 2).least == 200
    assert found.gain == pytest.approx(0.1 / 0.07)
    assert (bare.job, bare.rest) == (pytest.approx(0.1), WRITING)  # a calibration of one step
    image = EVALUATION * 0.1 / 32
    assert found.job - bare.job == pytest.approx(640 * image)
    assert found.rest - bare.rest == pytest.approx((640 + 1280) * image)


def test_too_short_a_time_is_refused_with_the_least() -> None:
    with pytest.raises(QnasError, match=r"takes about 11 minutes here, got `minutes=5`; give at least that"):
        steps_within(300.0, Estimate(100.0, 1.0), 500)


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(SETTINGS)


@pytest.mark.slow
def test_networks_are_timed_in_this_process(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_run, "MEASURED", 0.1)
    pace = measured(SETTINGS, prepared, "cpu", 1)
    assert 0 < pace.step == pace.full_step < 5
    assert 0 < pace.score < 60
    assert pace.passed > pace.step
    assert pace.batch == 32
    prices = [price(build_plan(one, prepared.space.task), 32) for one in islice(stream(prepared.space, 0), 500)]
    assert min(prices) < pace.price < max(prices)


@pytest.mark.slow
@pytest.mark.parametrize("top", [1, 2, 3])
def test_a_step_of_a_full_run_is_timed_on_its_threads(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, top: int
) -> None:
    there: list[int] = []

    def noted(*_: object) -> float:
        there.append(torch.get_num_threads())
        return 0.1 if there[-1] == 3 else 0.25

    before = torch.get_num_threads()
    monkeypatch.setattr(planning, "seconds_a_step", noted)
    pace = measured(replace(SETTINGS, threads=3, top=top), prepared, "cpu", 1)
    assert pace.full_step == pytest.approx(pace.step * 0.1 / 0.25)
    assert there == [before] * planning.TIMED + [3] * max(planning.TIMED_ON_THREADS, top)
    assert torch.get_num_threads() == before


def test_where_an_outlook_proposes_its_first_proposals_are_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Job] = []

    def noted(job: Job) -> dict[str, Any]:
        seen.append(job)
        return {"job": job.name, "step": 0.1, "score": 0.2, "passed": 0.0, "price": 100.0 + len(seen)}

    monkeypatch.setattr(planning, "timed", noted)
    settings = replace(SETTINGS, minutes=5, sampler="expected")
    timed = prepare(settings)
    assert timed.outlook
    pace = measured(settings, timed, "cpu", 1)
    assert pace.price == 100 + (len(seen) + 1) / 2  # the median
    sizes = [costs(build_plan(one.genotype, timed.space.task)).params for one in seen]
    assert 2 <= len(seen) == len({one.genotype.key for one in seen}) <= planning.TIMED
    assert max(sizes) <= 12_000
    known = replace(settings, usual_price=1.0, recipe=settings.recipe.of(round(planning.FULL_SHARE * 60e6 * 5 / 32)))
    choose = Foresight(timed.outlook, known, timed.space, len(timed.data.train)).choose
    proposals = proposer_for(settings, timed.space, choose).propose(planning.TIMED)
    assert {one.genotype for one in seen} == {settings.decode(timed.space, one) for one in proposals}


@pytest.mark.parametrize(("minutes", "count"), [(0.0, 6), (100.0, 6), (1.0, 2)])
def test_networks_are_timed_cheapest_first_for_a_tenth_of_the_time(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, minutes: float, count: int
) -> None:
    seen: list[float] = []

    def noted(job: Job) -> dict[str, Any]:
        own = price(build_plan(job.genotype, prepared.space.task), 32)
        seen.append(own)
        took = 0.0 if len(seen) == 1 else 7.0 * own / seen[0]  # who is third would be done after the tenth
        return {"job": job.name, "step": 0.1, "score": 0.2, "passed": took, "price": own}

    monkeypatch.setattr(planning, "timed", noted)
    measured(replace(SETTINGS, minutes=minutes), prepared, "cpu", 1)
    assert len(seen) == count
    assert seen == sorted(seen)
