"""Tables on narrow terminals: columns are left out whole, so that no figure is cut."""

import io
from dataclasses import replace

import pytest
from rich.console import Console
from rich.table import Table

from qnas.cli.errors import in_options
from qnas.data.images import DataSet
from qnas.data.survey import survey
from qnas.reports.search import picks_table
from qnas.reports.tables import data_table, narrowed

PICK = {
    "key": "9b78ff19f9cfa2ca-w4a4", "score": 91.23, "estimate": 92.34, "test": 94.56,
    "trained": {"15": 90.0, "60": 93.45},
    "params": 1_234_567, "macs": 12_345_678, "weight_bytes": 617_284, "activation_bytes": 98_765, "latency": 0.0,
    "instructions": 0.0, "flash": 0, "ram": 0,
}  # fmt: skip
OTHER = {"key": "other", "score": 90.0, "estimate": None}
RESULT = {
    "screened": 30,
    "pareto": [],
    "calibration": None,
    "picks": [PICK, PICK],
    "candidates": [OTHER, {**OTHER, "score": 95.0}],
}


def printed(table: Table, width: int) -> str:
    console = Console(width=width, file=io.StringIO())
    console.print(narrowed(table, width))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize(
    ("width", "there", "missing"),
    [
        (160, ["91.2", "92.3", "1,234,567", "12,345,678", "617,284", "98,765"], []),
        (100, ["91.2", "12,345,678", "617,284"], ["activation bytes"]),
        (80, ["91.2", "92.3", "617,284"], ["params", "MACs"]),
        (60, ["92.3"], ["score", "weight bytes"]),
        (48, [], ["estimate"]),
    ],
)
def test_accuracies_and_names_stay_whole(width: int, there: list[str], missing: list[str]) -> None:
    text = printed(picks_table(RESULT), width)
    assert [word for word in [PICK["key"], "93.5", "94.6", *there] if str(word) not in text] == []
    table, _, below = text.partition("A wider window also")
    assert "…" not in table
    assert all(name in " ".join(below.split()) for name in missing)
    assert bool(below) == bool(missing)
    assert max(map(len, text.splitlines())) <= width


def test_networks_that_are_no_picks_have_a_line() -> None:
    text = printed(picks_table(RESULT), 160)
    assert [line.split() for line in text.splitlines() if "more" in line] == [
        ["│", "│", "best", "of", "2", "more", "│", "95.0", "│", "-", *"│││││││"]
    ]
    assert " more " not in printed(picks_table({**RESULT, "candidates": []}), 160)


def test_data_are_told_in_the_words_of_whoever_reads(digits_data: DataSet) -> None:
    found = replace(survey(digits_data), sizes=((9, 12), (10, 20), (11, 30)))
    text = printed(data_table(found, in_options), 100)
    assert "digits: grey, 8x8 pixels (height x width)" in text
    assert "largest height and width: 12x9, 20x10, 30x11;" in " ".join(text.split())
    assert "in proportion at most 64; another height and width: --image 8x8." in " ".join(text.split())


def test_what_is_left_out_is_said_once_and_in_order() -> None:
    table = Table("network", "MACs", "estimate", "params")
    table.add_row("n" * 20, "m" * 20, "e" * 20, "p" * 20)
    assert [str(column.header) for column in narrowed(table, 60).columns] == ["network", "estimate"]
    assert str(table.caption) == "A wider window also shows: MACs, params."
