"""Progress goes on where a run does, and a stopped command says how it goes on."""

import io
import re

import pytest
from rich.console import Console

from qnas.cli.progress import GOES_ON, Bars, BarsAndTable, Lines, columns_of, shown


def test_a_bar_begins_where_the_run_goes_on() -> None:
    progress = BarsAndTable()
    bars = Bars(progress)
    for kept in (1, 20, 40):  # what an earlier run did comes at once
        bars("train", kept / 100, f"step {kept}")
    (task,) = progress.tasks
    assert (task.completed, task.description) == (0.4, "train  step 40")
    assert task.speed is None  # what was done before says nothing of the speed


BEST = {
    "key": "280ca8a45a622725-w4a4", "score": 74.8, "trained": 92.4, "steps": 1200, "params": 63_386,
    "macs": 1_590_976, "weight_bytes": 32_304, "activation_bytes": 3_136,
}  # fmt: skip


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_best_so_far_stand_below_the_bars(width: int) -> None:
    progress = BarsAndTable(console=Console(width=width, force_terminal=True, file=io.StringIO()))
    bars = Bars(progress)
    bars("finish", 0.5, "1 of 2 networks")
    bars.watch([BEST, BEST | {"key": "132d8feddc522365-w4a4", "steps": 0, "trained": None}])
    with progress.console.capture() as capture:
        progress.console.print(progress.get_renderable())
    text = capture.get()
    assert text.index("finish") < text.index("280ca8a45a622725-w4a4") < text.index("132d8feddc522365-w4a4")
    assert {"92.4", "1,200", "74.8", "none"} <= set(text.split())


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_bar_fits_into_its_window(width: int) -> None:
    progress = BarsAndTable(*columns_of(width), console=Console(width=width, force_terminal=True, file=io.StringIO()))
    Bars(progress)("calibrate", 0.4, "3 of 6 networks, 206 steps, best 88.2 %")
    with progress.console.capture() as capture:
        progress.console.print(progress.get_renderable())
    (line,) = capture.get().splitlines()
    text = re.sub(r"\x1b\[[\d;]*m", "", line)
    assert len(text) <= width
    assert text.startswith("calibrate  3 of 6")
    assert "40%" in text
    assert text.rstrip().endswith("-:--:--")


def test_lines_have_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as progress:
        progress.watch([BEST])
    assert isinstance(progress, Lines)
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_told_often_has_an_estimate_too(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = BarsAndTable(get_time=lambda: clock[0])
    bars = Bars(progress)
    for step in range(41):
        clock[0] = 100 + step / 10
        bars("train", step / 100, "")
    (task,) = progress.tasks
    assert task.speed == pytest.approx(0.1)
    assert task.time_remaining == 6


def test_lines_of_what_stands_still_have_no_estimate(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    lines("calibrate", 0.0, "")
    for second in (20, 31, 40, 62):
        monkeypatch.setattr("time.monotonic", lambda now=lines.began + second: now)
        lines("calibrate", 0.0, "0 of 6 networks")
    assert capsys.readouterr().err == "calibrate: 0%  0 of 6 networks\n" * 2


def test_lines_count_from_where_the_run_goes_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = Lines()
    for kept in (0.1, 0.2, 0.4):  # what an earlier run did comes at once
        lines("train", kept, "")
    for second, share in (20, 0.5), (30, 0.55), (40, 0.8):
        monkeypatch.setattr("time.monotonic", lambda now=lines.began + second: now)
        lines("train", share, f"{share:.0%}")
    assert capsys.readouterr().err == "train: 50%, about 100 s left  50%\ntrain: 80%, about 20 s left  80%\n"


def test_who_stops_a_command_is_told_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), shown(GOES_ON):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Stopped. The same command goes on with it.\n"
