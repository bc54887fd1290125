"""A hypernetwork's training run in a folder: saved now and then, resumed, and ended as a checkpoint with its card."""

import time
from pathlib import Path
from typing import Any

from qnas.checkpoints.store import WEIGHTS, find_checkpoint, read_card, save_card, save_checkpoint
from qnas.errors import QnasError
from qnas.runs.progress import Report
from qnas.training.fit_ghn import STATE, GHNTrainer
from qnas.training.metrics import METRICS, MetricsLog

SAVE_EVERY = 30.0
"""Seconds between two saves of the state."""


def open_fit(trainer: GHNTrainer, folder: Path, resume: bool) -> None:
    """Make sure that a run may begin in ``folder``, or take over the state of the one that is there.

    Raises:
        QnasError: there is a run and it is not to be resumed, or it cannot be.
    """
    if resume:
        trainer.resume(folder)
    elif (folder / STATE).exists() or (folder / WEIGHTS).exists():
        raise QnasError(f"{folder} already holds a run; continue it with `resume`, or name another `out`.")
    folder.mkdir(parents=True, exist_ok=True)


def lineage(start: str) -> list[dict[str, Any]]:
    """The runs that the weights of a checkpoint went through, the first one first; none if ``start`` is empty."""
    if not start:
        return []
    card = read_card(find_checkpoint(start))
    kept = {key: card[key] for key in ("settings", "counters", "hardware", "processes", "versions") if key in card}
    return [*card.get("history", []), kept]


def fit(trainer: GHNTrainer, folder: Path, start: str, report: Report) -> None:
    """Train to the end; the first process writes checkpoint, card, metrics and state.

    Args:
        trainer: opened by ``open_fit``.
        folder: of the run.
        start: checkpoint that the weights came from, for the card.
        report: called after each step with the share that is done and a remark.
    """
    if not trainer.ranks.is_first:
        for step in trainer.run():
            report(step.progress, "")
        return
    saved = time.monotonic()
    log = MetricsLog(folder / METRICS, trainer.counters.step)
    for step in trainer.run():
        sums = {"loss": step.loss_sum, "accuracy": step.accuracy_sum}
        log.add(step.step, sums, step.networks, phase=step.phase, rate=step.rate)
        report(step.progress, f"{step.phase} step {step.step} {log.remark}")
        if time.monotonic() - saved > SAVE_EVERY:
            trainer.save(folder)
            saved = time.monotonic()
    trainer.save(folder)
    save_checkpoint(folder, trainer.ghn, trainer.averaged, trainer.data.task, trainer.space.name)
    save_card(folder, trainer.card(Path(start).name, lineage(start)))
