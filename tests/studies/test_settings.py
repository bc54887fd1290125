"""The settings of tables: their parts, as files and as values, and what makes two tables the same one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qnas.errors import QnasError
from qnas.nas.limits import Limits
from qnas.quant.scheme import Bits
from qnas.studies.settings import Part, TableSettings, read_parts

FOUR, TWO = Bits(4, 4), Bits(2, 2)
TEXT = """
[[runs]]
bits = ["w4a4", "w2a2"]
networks = 120

[[runs]]
bits = ["w4a4"]
networks = 40
epochs = 8
starts = ["predicted"]
seeds = 2

[[runs]]
bits = ["w8a8"]
networks = 10
mixed = true
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "table.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_parts_are_read_from_a_file(tmp_path: Path) -> None:
    assert read_parts(written(tmp_path, TEXT)) == (
        Part(FOUR, 120), Part(TWO, 120), Part(FOUR, 40, 8, ("predicted",), 2), Part(Bits(8, 8), 10, mixed=True)
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"cannot be read as the parts of a table .*; write \[\[runs\]\] with bits"),
        ("runs = []", "has no runs; write"),
        ("runs = 3", "cannot be read as the parts of a table"),
        ("[[runs]]\nnetworks = 3", "cannot be read as the parts of a table .*bits"),
        ('[[runs]]\nbits = ["w4a4"]', "cannot be read as the parts of a table .*networks"),
        ('[[runs]]\nbits = "w4a4"\nnetworks = 3', "bits cannot be 'w4a4'; correct it in the file"),
        ('[[runs]]\nbits = ["w5x4"]\nnetworks = 3', "w5x4"),
        ('[[runs]]\nbits = ["w4a4"]\nnetworks = true', "networks cannot be True; correct"),
        ('[[runs]]\nbits = ["w4a4"]\nnetwork = 3', "unknown key 'network'; did you mean 'networks'"),
        ('[[runs]]\nbits = ["w4a4"]\nnetworks = 3\nstarts = ["he"]', "start"),
        ('[[runs]]\nbits = ["w4a4"]\nnetworks = 0', "networks"),
        ('[[runs]]\nbits = ["w4a4"]\nnetworks = 3\nepochs = -1', "`epochs` is above 0, got -1"),
        ('[[runs]]\nbits = ["w4a4"]\nnetworks = 3\nepochs = nan', "`epochs` is above 0, got nan"),
        ('[[runs]]\nbits = ["w8a8"]\nnetworks = 3\nmixed = 1', "mixed cannot be 1; correct"),
        ('[[runs]]\nbits = ["w2a2"]\nnetworks = 3\nmixed = true', "`mixed` chooses among .* up to `bits`, got w2a2"),
        ('[[runs]]\nbits = ["fp32"]\nnetworks = 3\nmixed = true', "`mixed` chooses among .*, got fp32"),
        ("[[runs", "cannot be read as the parts of a table"),
    ],
)
def test_a_wrong_file_of_parts_is_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(QnasError, match=message):
        read_parts(written(tmp_path, text))


def test_a_missing_file_of_parts_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(QnasError, match="cannot be read as the parts of a table"):
        read_parts(tmp_path / "none.toml")


def test_a_table_may_get_more_parts_but_no_other_networks() -> None:
    settings = TableSettings("digits", "tiny", "digits", parts=(Part(FOUR, 10),))
    more = replace(settings, parts=(Part(FOUR, 20), Part(TWO, 5)))
    assert settings.identity() == more.identity()
    changes: list[dict[str, Any]] = [{"limits": Limits(macs=1000)}, {"seed": 1}, {"space": "mobile"}]
    assert all(replace(settings, **change).identity() != settings.identity() for change in changes)
    assert replace(settings, parts=(), networks=7).identity() != replace(settings, parts=()).identity()
    assert "limits" not in settings.identity()  # as tables were before there were any
