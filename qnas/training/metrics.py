"""Training metrics as JSON lines: one line for every few steps, averaged over them."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from qnas.runs.files import append_row, read_rows, write_rows
from qnas.runs.reading import reading

METRICS = "metrics.jsonl"
"""Their file in a run's folder."""
STEPS_PER_LINE = 50
SAID = {"accuracy": "{:.1f} %"}
"""How a remark says a metric, where not with two digits."""


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

    def add(self, step: int, sums: Mapping[str, Tensor], count: Tensor, **told: object) -> None:
        """Take a step's metrics; write a line, and renew ``remark``, at every so many steps, resumed or not.

        Args:
            step: its number, from 1 on.
            sums: of each metric over what is counted, scalars.
            count: over how many, a scalar on the same device.
            told: of the step, that the line has as it is.
        """
        self._sums.append(torch.stack([*sums.values(), count]))
        if step % STEPS_PER_LINE:
            return
        *totals, number = torch.stack(self._sums).sum(0).tolist()
        self._sums.clear()
        means = {name: total / max(1, number) for name, total in zip(sums, totals, strict=True)}
        append_row(self.path, {"step": step, **told, **means})
        self.remark = " ".join(f"{name} {SAID.get(name, '{:.2f}').format(value)}" for name, value in means.items())
