"""Metrics lines held against means taken here, and against what a resumed run must keep."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qnas.errors import QnasError
from qnas.training.fit_ghn import StepReport
from qnas.training.metrics import STEPS_PER_LINE, MetricsLog


def report(step: int, loss: float | None = None, networks: int = 2) -> StepReport:
    """A report of two networks whose loss and accuracy tell its step."""
    value = step / 10 if loss is None else loss
    sums = (torch.tensor(networks * number) for number in (value, 2.0 * step, 1.0))
    return StepReport(step, step / 1000, "float", 0.5 / step, *sums)


def add(log: MetricsLog, one: StepReport) -> None:
    sums = {"loss": one.loss_sum, "accuracy": one.accuracy_sum}
    log.add(one.step, sums, one.networks, phase=one.phase, rate=one.rate)


def write(path: Path, steps: range, resumed_at: int = 0) -> None:
    log = MetricsLog(path, resumed_at)
    for step in steps:
        add(log, report(step))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_a_line_comes_every_few_steps(tmp_path: Path) -> None:
    write(tmp_path / "metrics", range(1, 2 * STEPS_PER_LINE + 30))
    assert [line["step"] for line in lines(tmp_path / "metrics")] == [STEPS_PER_LINE, 2 * STEPS_PER_LINE]


def test_loss_and_accuracy_are_means_over_the_steps_of_the_line(tmp_path: Path) -> None:
    write(tmp_path / "metrics", range(1, 2 * STEPS_PER_LINE + 1))
    steps = [sum(range(start, start + STEPS_PER_LINE)) / STEPS_PER_LINE for start in (1, STEPS_PER_LINE + 1)]
    found = lines(tmp_path / "metrics")
    assert [line["loss"] for line in found] == pytest.approx([step / 10 for step in steps])
    assert [line["accuracy"] for line in found] == pytest.approx([2 * step for step in steps])


def test_rate_and_phase_are_those_of_the_last_step(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics")
    for step in range(1, STEPS_PER_LINE + 1):
        add(log, replace(report(step), phase="quantized" if step == STEPS_PER_LINE else "float"))
    (line,) = lines(tmp_path / "metrics")
    assert (line["rate"], line["phase"]) == (0.5 / STEPS_PER_LINE, "quantized")


def test_a_step_without_networks_does_not_count(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics")
    for step in range(1, STEPS_PER_LINE + 1):
        add(log, report(step, 3.0, networks=0 if step == 7 else 2))
    (line,) = lines(tmp_path / "metrics")
    others = [2 * step for step in range(1, STEPS_PER_LINE + 1) if step != 7]
    assert line["loss"] == 3
    assert line["accuracy"] == pytest.approx(sum(others) / len(others))


def test_a_resumed_run_keeps_its_lines_up_to_the_saved_step(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    write(path, range(1, 4 * STEPS_PER_LINE + 1))
    before = lines(path)
    write(path, range(2 * STEPS_PER_LINE + 1, 3 * STEPS_PER_LINE + 1), resumed_at=2 * STEPS_PER_LINE)
    assert lines(path) == before[:3]


def test_a_run_resumed_between_two_lines_has_its_lines_at_the_same_steps(tmp_path: Path) -> None:
    write(tmp_path / "metrics", range(1, STEPS_PER_LINE + 20))
    write(tmp_path / "metrics", range(STEPS_PER_LINE + 15, 3 * STEPS_PER_LINE), resumed_at=STEPS_PER_LINE + 14)
    assert [line["step"] for line in lines(tmp_path / "metrics")] == [STEPS_PER_LINE, 2 * STEPS_PER_LINE]


def test_a_line_that_was_cut_off_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    write(path, range(1, 2 * STEPS_PER_LINE + 1))
    first, second = path.read_text(encoding="utf-8").splitlines()
    path.write_text(f"{first}\n{second[:-5]}", encoding="utf-8")
    write(path, range(0), resumed_at=2 * STEPS_PER_LINE)
    assert lines(path) == [json.loads(first)]


@pytest.mark.parametrize("damage", ["nothing of use", "[1]", '{"loss": 1.0}'])
def test_damaged_lines_are_named_with_the_way_out(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "metrics"
    path.write_text(damage + "\n", encoding="utf-8")
    with pytest.raises(QnasError) as error:
        MetricsLog(path, resumed_at=STEPS_PER_LINE)
    assert str(error.value).startswith(f"{path} cannot be read as training metrics (")
    assert str(error.value).endswith("); delete it, and the same command continues the run.")


def test_a_new_run_begins_a_new_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics"
    write(path, range(1, STEPS_PER_LINE + 1))
    write(path, range(1, 3))
    assert lines(path) == []


def test_folders_are_made(tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "metrics", range(1, STEPS_PER_LINE + 1))
    assert len(lines(tmp_path / "a" / "b" / "metrics")) == 1


def test_the_remark_is_that_of_the_last_line(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "metrics")
    assert log.remark == ""
    for step in range(1, STEPS_PER_LINE + 3):
        add(log, report(step))
    mean = (STEPS_PER_LINE + 1) / 2
    assert log.remark == f"loss {mean / 10:.2f} accuracy {2 * mean:.1f} %"
