"""Devices: how many processors are idle, as the system's own figures tell."""

import os
from pathlib import Path

import pytest

from qnas import devices
from qnas.devices import idle_processors, processors


@pytest.mark.parametrize(
    ("later", "idle"),
    [
        ("cpu 300 0 100 800 0 0 0 0 7 7", 0.0),  # user, nice, system, idle, waiting, interrupts, ..., guests'
        ("cpu 100 0 100 1000 0 0 0 0 7 7", 1.0),
        ("cpu 100 50 100 900 50 0 0 0 900 7", 0.75),  # guests' are the user's own time again
        ("cpu 100 0 100 800 0 0 0 0 7 7", 1.0),  # a system that does not tell
    ],
)
def test_idle_processors_are_those_that_nobody_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, later: str, idle: float
) -> None:
    times = tmp_path / "stat"
    times.write_text("cpu 100 0 100 800 0 0 0 0 7 7\ncpu0 1 2 3\n", encoding="ascii")
    monkeypatch.setattr(devices, "SYSTEM_TIMES", times)
    monkeypatch.setattr(devices.time, "sleep", lambda _: times.write_text(later + "\ncpu0 1 2 3\n", encoding="ascii"))
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(devices, "processors", lambda: 8)
    assert idle_processors(moments=1) == 4 * idle


def test_a_moment_in_which_others_work_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    times, busy = tmp_path / "stat", iter([0, 90, 10, 0, 0])
    used, idle = [100], [800]

    def sleep(_: float) -> None:
        share = next(busy)
        used[0], idle[0] = used[0] + share, idle[0] + 100 - share
        times.write_text(f"cpu {used[0]} 0 0 {idle[0]} 0 0 0 0 7 7\n", encoding="ascii")

    times.write_text("cpu 100 0 0 800 0 0 0 0 7 7\n", encoding="ascii")
    monkeypatch.setattr(devices, "SYSTEM_TIMES", times)
    monkeypatch.setattr(devices.time, "sleep", sleep)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(devices, "processors", lambda: 8)
    assert idle_processors() == 4


def test_no_more_are_idle_than_may_be_used() -> None:
    assert 0 <= idle_processors(0.05) <= processors()


def test_where_the_system_does_not_tell_all_count_as_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "SYSTEM_TIMES", tmp_path / "none")
    assert idle_processors() == processors()
