"""How long a search takes on this machine, and how long its training runs may be to fit into a given time.

A few networks that keep the budgets are timed, in as many processes as will work, before anything else is done, for a
tenth of the time that is given. Where time is given, all runs of a rung take the same time (``qnas.training.price``),
there is a full one for every two processes, or for each where costs count or a GPU trains, up to ``MOST_TOP``, and no
middle ones; full runs share the processors among them. At least half of the time is planned for them; how long they get
is decided once more when the short runs are done (``qnas.nas.deadline``).
"""

import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, inf
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.nas.budgets import fitting
from qnas.nas.deadline import Deadline
from qnas.nas.foresight import Foresight
from qnas.nas.prepare import Prepared
from qnas.nas.proposer import proposer_for
from qnas.nas.samplers import EXPECTED
from qnas.nas.settings import MIDDLE, MOST_THREADS, SHORT, SearchSettings
from qnas.network.arithmetic import static_on
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import Predictor
from qnas.network.plan import Plan
from qnas.quant.choices import GRIDS, GridChoice
from qnas.runs.progress import Progress, silent, stage
from qnas.sampling.generator import stream
from qnas.scores.race import CALIBRATION_IMAGES, MOST_IMAGES, PILOTS, batch_on
from qnas.space.genotype import Genotype
from qnas.training.jobs import Job, data_of, one_thread, predictor_of
from qnas.training.price import price
from qnas.training.run import EVALUATION, seconds_a_step
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

TIMED = 6
"""Networks that are timed: the first that the search will propose, for prices are off by kinds of networks."""
FULL_SHARE, GAIN = 0.6, 1.5
"""A full run's share of a search's time, about; and by how much threads speed it up, while that is not known."""
PROPOSED = 0.1
"""Seconds of a proposal that an outlook chooses; every process makes all of them."""
DRAWN = 5_000
"""Networks among which those are looked for that keep the budgets."""
QUANTILE = 0.7
"""Of the networks' scores: who is proposed is larger than most."""
MEASURING = 0.1
"""Share of a search's time in which networks are timed, cheapest first; the first of each process is in any case."""
TRIED = 1.25
"""What a candidate's score costs of one that is timed: who is proposed is larger than most."""
MOST_TOP = 3
"""Full runs of a search that is given minutes: one of half as many steps again, as on two threads, is worth more than
the better of two (``docs/searching.md``)."""
TIMED_ON_THREADS = 2
"""Networks that are timed on the threads of a full run, too, as many at once as there are full runs."""
SCORED, LABELS = 48, 6
"""Networks that it scores, each the best of many by an outlook, and its short runs."""
STARTING, WRITING = 8.0, 6.0
"""Seconds until a process works, and of exporting the winner."""


@dataclass(frozen=True)
class Pace:
    """What things take on this machine.

    Args:
        step: seconds of one training step, while all processes train.
        full_step: the same, of a full run, which may compute on several threads.
        score: seconds of a score that is not cut short.
        batch: images a step.
        passed: seconds that measuring took.
        price: training price of a network of that step.
    """

    step: float
    full_step: float
    score: float
    batch: int
    passed: float
    price: float


@dataclass(frozen=True)
class Estimate:
    """Seconds of a search: of all that does not depend on the length of training, and of each step of a full run."""

    fixed: float
    each_step: float

    def seconds(self, steps: int) -> float:
        """Of a search whose full runs have so many steps."""
        return self.fixed + steps * self.each_step


def estimate(pace: Pace, settings: SearchSettings, prepared: Prepared, workers: int) -> Estimate:
    """What a search takes at a pace.

    Args:
        pace: of this machine.
        settings: of the search.
        prepared: whose images are counted.
        workers: processes.
    """
    middle = settings.survivors if settings.survivors > settings.top else 0
    rounds = [ceil(count / workers) for count in (settings.labels, middle, settings.top)]
    job, after = _evaluations(pace, settings, prepared)
    proposals = PROPOSED * settings.trials if settings.sampler == EXPECTED else 0.0
    screen = (PILOTS + settings.trials * TRIED / workers) * pace.score + proposals
    fixed = pace.passed + STARTING * (workers > 1) + screen + sum(rounds) * job + after
    return Estimate(fixed, pace.step * (rounds[0] / SHORT + rounds[1] / MIDDLE) + pace.full_step * rounds[2])


def deadline_of(started: float, pace: Pace, settings: SearchSettings, prepared: Prepared, workers: int) -> Deadline:
    """When a search that began at a moment is to end; full runs have half of the steps of the plan at least.

    Args:
        started: on the clock of ``time.monotonic``.
        pace: of this machine.
        settings: of the search.
        prepared: whose images are counted.
        workers: processes.
    """
    rounds, (job, after) = ceil(settings.top / workers), _evaluations(pace, settings, prepared)
    epoch, half = len(prepared.data.train) // pace.batch, settings.recipe.steps // 2
    ends, gain = started + 60 * settings.minutes, pace.step / pace.full_step
    return Deadline(ends, gain, rounds, job, after, max(epoch, half))


def _evaluations(pace: Pace, settings: SearchSettings, prepared: Prepared) -> tuple[float, float]:
    """Seconds of a training run beside its steps, and of all that follows the last one."""
    image = EVALUATION * pace.step / pace.batch
    validation, test = len(prepared.data.validation) * image, len(prepared.data.test) * image
    return settings.recipe.calibration * pace.step + validation, settings.top * test + validation + WRITING


def steps_within(seconds: float, expected: Estimate, epoch: int) -> int:
    """Steps of a full run of a search that fits into a time.

    Raises:
        QnasError: no pass over the training images does.
    """
    steps = int((seconds - expected.fixed) / expected.each_step)
    if steps < epoch:
        least = 1.1 * expected.seconds(epoch) / 60
        raise QnasError(
            f"A full run sees every image at least once, so this search takes about {least:.2g} minutes here, got "
            f"`minutes={seconds / 60:g}`; give at least that."
        )
    return steps


def in_equal_time(
    settings: SearchSettings, workers: int, top: int, device: str = "cpu", idle: float = inf
) -> SearchSettings:
    """The settings of a search that is given minutes: how many short and full runs it makes, on how many threads.

    Args:
        settings: of the search.
        workers: processes.
        top: full runs that are asked for; 0 for as many as suit the processes.
        device: that they train on; runs on a GPU need no threads.
        idle: processors that others leave. Threads that wait for one another stand still while others' work has the
            processor of one of them, so a full run has about as many as are idle.
    """
    shared = device == "cpu" and workers > 1
    top = top or min(max(1, workers // 2) if shared and not settings.pareto else workers, MOST_TOP)
    threads = min(max(1, workers // top), MOST_THREADS, max(1, round(min(idle, workers) / top))) if shared else 0
    sampler = ("random" if settings.pareto else EXPECTED) if settings.sampler == "auto" else settings.sampler
    return replace(settings, labels=max(LABELS, top), survivors=top, top=top, sampler=sampler, threads=threads)


def begun_with(settings: SearchSettings, there: dict[str, Any], top: int) -> SearchSettings:
    """The settings of a search that is given minutes, with what was planned when its run was begun.

    Args:
        settings: of the search.
        there: settings of the run; what is missing there is refused when its folder is opened.
        top: full runs that are asked for; 0 for as many as were planned.
    """
    return replace(
        settings,
        recipe=settings.recipe.of(there.get("steps", settings.recipe.steps)),
        sampler=there.get("sampler", EXPECTED) if settings.sampler == "auto" else settings.sampler,
        usual_price=there.get("usual_price", 0.0),
        labels=there.get("calibration", settings.labels),
        survivors=there.get("survivors", settings.survivors),
        top=top or there.get("top", settings.top),
        threads=there.get("threads", 0),
    )


def told(settings: SearchSettings, expected: Estimate, epoch: int) -> str:
    """A plan in words, for a user.

    Args:
        settings: of the search.
        expected: how long it takes.
        epoch: steps of a pass over the training images.
    """
    short, middle, full = settings.lengths
    halved = f"{settings.survivors} for {middle}, " if settings.survivors > settings.top else ""
    equal = ", or as many as there is time for" if settings.usual_price else ""
    return (
        f"{settings.trials} networks are scored, {settings.labels} trained for {short} steps, {halved}{settings.top} "
        f"for {full} ({full / epoch:.1f} passes over the images){equal}; about {expected.seconds(full) / 60:.0f} "
        "minutes."
    )


def measured(
    settings: SearchSettings, prepared: Prepared, device: str, workers: int, progress: Progress = silent
) -> Pace:
    """Time some networks that keep the budgets, in all processes at once."""
    started, report = time.perf_counter(), stage(progress, "plan")
    report(0.0, "what fits into the time")
    chosen = _first_proposals(settings, prepared) or list(islice(_fitting(settings, prepared), TIMED))
    chosen = chosen or list(islice(stream(prepared.space, settings.seed, bits=settings.bits), 1))
    prices = {one: price(build_plan(one, prepared.space.task), settings.recipe.batch) for one in chosen}
    cheapest = sorted(chosen, key=prices.__getitem__)
    jobs = [Job(one, settings.recipe, settings.seed, settings.data, settings.ghn, device) for one in cheapest]
    last = started + MEASURING * 60 * settings.minutes if settings.minutes else inf
    with tempfile.TemporaryDirectory() as name, Pool(timed, Ledger(Path(name) / "pace"), workers, one_thread) as pool:
        results: dict[str, Result] = {}
        for at_once in (jobs[place : place + workers] for place in range(0, len(jobs), workers)):
            slowest = max((one["passed"] / one["price"] for one in results.values()), default=0.0)
            if time.perf_counter() + slowest * prices[at_once[-1].genotype] < last or not results:
                results |= {job.genotype.key: result for job, result in pool.run(at_once)}
                report(len(results) / len(jobs) / 2, f"{len(results)} networks timed")
        gains = _gains(settings, jobs[: len(results)][::-1], results, pool)
    report(1.0, f"{len(results)} networks timed")
    usual = median(one["price"] for one in results.values())
    step = usual * median(one["step"] / one["price"] for one in results.values())
    score = float(np.quantile([one["score"] for one in results.values()], QUANTILE))
    return Pace(step, step / median(gains), score, settings.recipe.batch, time.perf_counter() - started, usual)


def _gains(settings: SearchSettings, jobs: list[Job], results: dict[str, Result], pool: Pool[Job]) -> list[float]:
    """How much faster steps are while full runs train, each on its threads, than while every process does on one."""
    if settings.threads <= 1:
        return [1.0]
    gains = []
    apart = [replace(job, seed=job.seed + 1, threads=settings.threads) for job in jobs]  # names of their own
    for first in range(0, min(max(TIMED_ON_THREADS, settings.top), len(apart)), settings.top):
        for job, result in pool.run(apart[first : first + settings.top]):
            gains.append(results[job.genotype.key]["step"] / result["step"])
    return gains


def _fitting(settings: SearchSettings, prepared: Prepared) -> Iterator[Genotype]:
    """Random networks that keep the budgets."""
    drawn = islice(stream(prepared.space, settings.seed, bits=settings.bits), DRAWN)
    return fitting(drawn, settings.limits.within(prepared.space), prepared.space)


def _first_proposals(settings: SearchSettings, prepared: Prepared) -> list[Genotype]:
    """The first different networks within the budgets that an outlook will propose; none where none does."""
    if not prepared.outlook or settings.sampler != EXPECTED:
        return []
    space, batch = prepared.space, settings.recipe.batch
    gain = GAIN if settings.threads > 1 else 1.0
    steps = max(1, round(FULL_SHARE * gain * 60e6 * settings.minutes / batch))
    guess = replace(settings, usual_price=1.0, recipe=settings.recipe.of(steps))
    foresight = Foresight(prepared.outlook, guess, space, len(prepared.data.train))
    proposals = proposer_for(settings, space, foresight.choose).propose(TIMED)
    proposed = {one.key: one for one in (settings.decode(space, proposal) for proposal in proposals)}
    return list(fitting(proposed.values(), settings.limits.within(space), space))


@torch.inference_mode()
def _seconds_a_score(plan: Plan, data: DataSet, ghn: Predictor, grid: GridChoice) -> float:
    """Of a whole score."""
    started = time.perf_counter()
    (parameters,) = ghn([plan], whole=False)
    calibration, _ = data.train.batch(slice(0, CALIBRATION_IMAGES))
    arithmetic = static_on(plan, parameters, calibration, grid)
    for x, _ in evaluation_batches(data.validation.first(MOST_IMAGES), batch_on(calibration.device)):
        forward(plan, parameters, x, arithmetic).sum().item()
    return time.perf_counter() - started


def timed(job: Job) -> Result:
    """Seconds of a training step, of a score and of measuring both, of a job's network, and its training price."""
    data, ghn = data_of(job.data, job.device), predictor_of(job.ghn, job.data, job.device, grid=job.recipe.grid)
    plan, started = build_plan(job.genotype, data.task), time.perf_counter()
    with job.computing():
        step = seconds_a_step(plan, data, job.recipe, ghn)
        score = _seconds_a_score(plan, data, ghn, GRIDS[job.recipe.grid])
    passed = time.perf_counter() - started
    return {"job": job.name, "step": step, "score": score, "passed": passed, "price": price(plan, job.recipe.batch)}
