"""Progress goes on where a run does, and a stopped command says how it goes on."""

import pytest
from rich.progress import Progress

from qnas.cli.progress import GOES_ON, Bars, Lines, shown


def test_a_bar_begins_where_the_run_goes_on() -> None:
    progress = Progress()
    bars = Bars(progress)
    bars("train", 0.4, "step 40")
    (task,) = progress.tasks
    assert (task.completed, task.description) == (0.4, "train  step 40")
    assert task.speed is None  # what was done before says nothing of the speed


def test_lines_count_from_where_the_run_goes_on() -> None:
    lines = Lines()
    lines("train", 0.4, "")
    assert lines.share == 0.4


def test_who_stops_a_command_is_told_how_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), shown(GOES_ON):
        raise KeyboardInterrupt
    assert capsys.readouterr().err == "Stopped. The same command goes on with it.\n"
