"""Training metrics as JSON lines: one line for every few steps, averaged over them."""

from pathlib import Path

import torch
from torch import Tensor

from qnas.runs.files import append_row, read_rows, write_rows
from qnas.runs.reading import reading
from qnas.training.fit_ghn import StepReport

STEPS_PER_LINE = 50


class MetricsLog:
    """Appends averaged metrics to a file; lines after ``resumed_at``, from a run that was killed, are dropped first.

    The device is read once a line.

    Args:
        path: of the file.
        resumed_at: the step from which the run goes on.

    Raises:
        QnasError: the file is damaged.
    """

    def __init__(self, path: Path, resumed_at: int = 0) -> None:
        with reading(path, "training metrics", "delete it, and the same command continues the run"):
            kept = [row for row in read_rows(path) if row["step"] <= resumed_at]
        write_rows(path, kept)
        self.path = path
        self.remark = ""
        self._sums: list[Tensor] = []

    def add(self, report: StepReport) -> None:
        """Take a step's report; write a line, and renew ``remark``, at every so many steps, resumed or not."""
        self._sums.append(torch.stack([report.loss_sum, report.accuracy_sum, report.networks]))
        if report.step % STEPS_PER_LINE:
            return
        loss, accuracy, networks = torch.stack(self._sums).sum(0).tolist()
        self._sums.clear()
        loss, accuracy = (value / max(1, networks) for value in (loss, accuracy))
        row = {"step": report.step, "phase": report.phase, "rate": report.rate, "loss": loss, "accuracy": accuracy}
        append_row(self.path, row)
        self.remark = f"loss {loss:.2f} accuracy {accuracy:.1f} %"
