"""Training metrics as JSON lines: one line for every few steps, averaged over them."""

import json
from pathlib import Path

from qnas.checkpoints.files import append_row, read_rows, write_bytes
from qnas.training.fit_ghn import StepReport

STEPS_PER_LINE = 50


class MetricsLog:
    """Appends averaged metrics to a file; lines after ``resumed_at``, from a run that was killed, are dropped first.

    Args:
        path: of the file.
        resumed_at: the step from which the run goes on.
    """

    def __init__(self, path: Path, resumed_at: int = 0) -> None:
        kept = [row for row in read_rows(path) if row["step"] <= resumed_at]
        write_bytes(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self.path = path
        self.reports: list[StepReport] = []

    def add(self, report: StepReport) -> None:
        """Take a step's report; write a line when enough have come."""
        if len(self.reports) == STEPS_PER_LINE:
            self.reports.clear()
        self.reports.append(report)
        if len(self.reports) == STEPS_PER_LINE:
            loss, accuracy = self._means()
            row = {"step": report.step, "phase": report.phase, "rate": report.rate, "loss": loss, "accuracy": accuracy}
            append_row(self.path, row)

    def summary(self) -> str:
        """Mean loss and accuracy of the reports since the last line, for a progress bar."""
        loss, accuracy = self._means()
        return f"loss {loss:.2f} accuracy {accuracy:.1f} %"

    def _means(self) -> tuple[float, float]:
        finite = [report for report in self.reports if report.loss == report.loss]
        count = max(1, len(finite))
        return sum(report.loss for report in finite) / count, sum(report.accuracy for report in finite) / count
