"""The training of one network in a folder: planned by the time that is given, continued bit for bit after a kill."""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from statistics import median

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.initial import Predictor
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.runs.files import write_tensors
from qnas.runs.reading import read_tensors, reading
from qnas.training.metrics import METRICS, MetricsLog
from qnas.training.qat import begun
from qnas.training.recipe import Recipe

STATE = "training.safetensors"
SAVED_EVERY = 60.0
"""Seconds from one saved state to the next."""
SAID_EVERY = 2.0
"""Seconds from one report of progress to the next."""
MEASURED = 3.0
"""Seconds for which steps are measured, and no fewer than ``FEWEST``."""
FEWEST = 5
EVALUATION = 0.35
"""What an image costs in evaluation, of what it costs in training; validation images are evaluated, and exported."""
SPARE = 5.0
"""Seconds for all else: reading, calibration, writing."""


def train_in(
    folder: Path,
    plan: Plan,
    data: DataSet,
    recipe: Recipe,
    seed: int,
    ghn: Predictor | None,
    report: Callable[[float, str], None],
    save_every: float = SAVED_EVERY,
) -> Network:
    """Train a network in a folder, from where its last saved state left off.

    Args:
        folder: of the run; the state is left there. A teacher (``distillation``) is no part of it, but trained anew.
        plan: of the network.
        data: on the device that computes.
        recipe: how.
        seed: of initialization, noise and the order of the images.
        ghn: predicts the initial parameters; without it they are random.
        report: told how far it is, and the loss.
        save_every: seconds from one saved state to the next.

    Raises:
        QnasError: the saved state is damaged.
    """
    path = folder / STATE
    training = begun(plan, data, recipe, seed, ghn)
    if path.is_file():
        with reading(path, "the state of a training run", "delete it to train from the start"):
            training.load_state(read_tensors(path)[0])
        report(training.done / training.recipe.steps, f"step {training.done}")
    metrics = MetricsLog(folder / METRICS, training.done)
    saved = said = time.monotonic()
    while training.done < training.recipe.steps:
        loss, now = training.step(), time.monotonic()
        metrics.add(training.done, {"loss": loss}, loss.new_ones(()), rate=training.rate)
        if now - saved >= save_every:
            write_tensors(path, training.state())
            saved = now
        if now - said >= min(SAID_EVERY, save_every):
            report(training.done / training.recipe.steps, f"step {training.done}, loss {loss.item():.2f}")
            said = now
    report(1.0, f"{training.done} steps")
    return training.finish()


def steps_within(minutes: float, plan: Plan, data: DataSet, recipe: Recipe, ghn: Predictor | None) -> int:
    """How many steps fit into a time on this machine, with all that has to be done after them.

    Args:
        minutes: of the whole run.
        plan: of the network.
        data: on the device that computes.
        recipe: how; its number of steps does not count.
        ghn: predicts the initial parameters, if there is one.

    Raises:
        QnasError: no pass over the training images fits.
    """
    step = seconds_a_step(plan, data, recipe, ghn)
    images = 2 * len(data.validation) + len(data.test)
    rest = SPARE + EVALUATION * step * images / recipe.batch
    steps, epoch = int((60 * minutes - rest) / step), max(1, len(data.train) // recipe.batch)
    if steps < epoch:
        least = (rest + epoch * step) / 60 * 1.1
        raise QnasError(
            f"Training sees every image at least once, which takes about {least:.2g} minutes here, got "
            f"`minutes={minutes:g}`; give at least that."
        )
    return steps


def seconds_a_step(plan: Plan, data: DataSet, recipe: Recipe, ghn: Predictor | None) -> float:
    """The median time of a step on this machine, with what a teacher answers if the recipe has one."""
    training = begun(plan, data, replace(recipe, steps=10**6, teacher_share=0.0), 0, ghn)
    for _ in range(2):
        training.step()
    times: list[float] = []
    while len(times) < FEWEST or sum(times) < MEASURED:
        started = time.perf_counter()
        training.step().item()  # waits for the device
        times.append(time.perf_counter() - started)
    return median(times)
