"""How long a search takes on this machine, and how long its training runs may be to fit into a given time.

A few networks that keep the budgets are timed, in as many processes as will work, before anything else is done.
"""

import tempfile
import time
from dataclasses import dataclass
from itertools import islice
from math import ceil
from pathlib import Path

import numpy as np
import torch

from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.nas.prepare import Prepared
from qnas.nas.settings import MIDDLE, SHORT, SearchSettings
from qnas.network.arithmetic import static_on
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.sampling.generator import stream
from qnas.scores.race import CALIBRATION_IMAGES, LARGEST_BATCH, PILOTS
from qnas.training.jobs import Job, data_of, ghn_of, one_thread
from qnas.training.run import EVALUATION, seconds_a_step
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

TIMED = 6
"""Networks that are timed."""
DRAWN = 5_000
"""Networks among which those are looked for that keep the budgets."""
QUANTILE = 0.7
"""Of the networks' times: who is chosen in the end is larger than most."""
RACED = 1.1
"""What a candidate's score costs of one on all validation images. Races are cut short, to 0.86 of the images with the
first hypernetwork of Fashion-MNIST, but who is proposed is larger than most, and others above the budget cost too."""
STARTING, WRITING = 8.0, 6.0
"""Seconds until a process works, and of exporting the winner."""


@dataclass(frozen=True)
class Pace:
    """What things take on this machine.

    Args:
        step: seconds of one training step.
        score: seconds of a score on all validation images.
        batch: images a step.
        passed: seconds that measuring took.
    """

    step: float
    score: float
    batch: int
    passed: float


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
    rounds = [ceil(count / workers) for count in (settings.labels, settings.survivors, settings.top)]
    image = EVALUATION * pace.step / pace.batch
    validation, test = len(prepared.data.validation) * image, len(prepared.data.test) * image
    job = settings.recipe.calibration * pace.step + validation
    screen = (PILOTS + settings.trials * RACED / workers) * pace.score
    fixed = pace.passed + STARTING * (workers > 1) + screen + sum(rounds) * job
    fixed += settings.top * test + validation + WRITING
    full_runs = sum(count / part for count, part in zip(rounds, (SHORT, MIDDLE, 1), strict=True))
    return Estimate(fixed, pace.step * full_runs)


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


def measured(settings: SearchSettings, prepared: Prepared, device: str, workers: int) -> Pace:
    """Time some networks that keep the budgets, in all processes at once."""
    started, limits, task = time.perf_counter(), settings.limits.within(prepared.space), prepared.space.task
    drawn = islice(stream(prepared.space, settings.seed, bits=settings.bits), DRAWN)
    fitting = (one for one in drawn if limits.excess(costs(build_plan(one, task))) <= 0)
    chosen = list(islice(fitting, TIMED)) or list(islice(stream(prepared.space, settings.seed, bits=settings.bits), 1))
    jobs = [Job(one, settings.recipe, settings.seed, settings.data, settings.ghn, device) for one in chosen]
    with tempfile.TemporaryDirectory() as name, Pool(timed, Ledger(Path(name) / "pace"), workers, one_thread) as pool:
        results = [result for _, result in pool.run(jobs)]
    step, score = (float(np.quantile([one[key] for one in results], QUANTILE)) for key in ("step", "score"))
    return Pace(step, score, settings.recipe.batch, time.perf_counter() - started)


@torch.inference_mode()
def _seconds_a_score(plan: Plan, data: DataSet, ghn: GHN) -> float:
    """Of a whole score, by a part of the validation images."""
    started = time.perf_counter()
    (parameters,) = ghn([plan], whole=False)
    calibration, _ = data.train.batch(slice(0, CALIBRATION_IMAGES))
    arithmetic = static_on(plan, parameters, calibration)
    begun = time.perf_counter()
    some = data.validation.first(2 * LARGEST_BATCH)
    for x, _ in evaluation_batches(some, LARGEST_BATCH):
        forward(plan, parameters, x, arithmetic).sum().item()
    return begun - started + (time.perf_counter() - begun) * len(data.validation) / len(some)


def timed(job: Job) -> Result:
    """The seconds of a training step and of a score of a job's network."""
    data, ghn = data_of(job.data, job.device), ghn_of(job.ghn)
    plan = build_plan(job.genotype, data.task)
    return {
        "job": job.name,
        "step": seconds_a_step(plan, data, job.recipe, ghn),
        "score": _seconds_a_score(plan, data, ghn),
    }
