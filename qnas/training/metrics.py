"""Training metrics as JSON lines: one line for every few steps, averaged over them."""

import json
from pathlib import Path
from types import TracebackType

from qnas.training.fit_ghn import StepReport

STEPS_PER_LINE = 50


class MetricsLog:
    """Appends averaged metrics to a file; lines after ``resumed_at``, from a run that was killed, are dropped first.

    Args:
        path: of the file.
        resumed_at: the step from which the run goes on.
    """

    def __init__(self, path: Path, resumed_at: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() and resumed_at else []
        kept = [line for line in lines if line.endswith("}") and json.loads(line)["step"] <= resumed_at]
        self.file = path.open("w", encoding="utf-8")
        self.file.writelines(f"{line}\n" for line in kept)
        self.reports: list[StepReport] = []

    def __enter__(self) -> "MetricsLog":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.file.close()

    def add(self, report: StepReport) -> None:
        """Take a step's report; write a line when enough have come."""
        if len(self.reports) == STEPS_PER_LINE:
            self.reports.clear()
        self.reports.append(report)
        if len(self.reports) == STEPS_PER_LINE:
            loss, accuracy = self._means()
            line = {"step": report.step, "phase": report.phase, "rate": report.rate, "loss": loss, "accuracy": accuracy}
            self.file.write(json.dumps(line) + "\n")
            self.file.flush()

    def summary(self) -> str:
        """Mean loss and accuracy of the reports since the last line, for a progress bar."""
        loss, accuracy = self._means()
        return f"loss {loss:.2f} accuracy {accuracy:.1f} %"

    def _means(self) -> tuple[float, float]:
        finite = [report for report in self.reports if report.loss == report.loss]
        count = max(1, len(finite))
        return sum(report.loss for report in finite) / count, sum(report.accuracy for report in finite) / count
