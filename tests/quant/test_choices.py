"""The table of grids, and the names that they had in older files."""

import pytest

from qnas.errors import QnasError
from qnas.quant.choices import GRIDS, USUAL, check_grid, with_grid


def test_the_table_holds_the_four_grids_and_the_usual_one() -> None:
    assert list(GRIDS) == ["per-channel", "per-tensor", "asymmetric", "power-of-two"]
    assert all(row.name == name and row.reads for name, row in GRIDS.items())
    assert USUAL == "per-channel"
    assert {name for name, row in GRIDS.items() if row.by_folding} == {"per-tensor", "power-of-two"}
    assert [name for name, row in GRIDS.items() if not row.is_symmetric] == ["asymmetric"]


def test_an_unknown_grid_is_answered_with_the_closest() -> None:
    with pytest.raises(QnasError, match=r"No `grid` is called 'per-chanel'; did you mean 'per-channel'\?"):
        check_grid("per-chanel")


@pytest.mark.parametrize(("former", "now"), [("channel", "per-channel"), ("tensor", "asymmetric")])
def test_older_names_are_read(former: str, now: str) -> None:
    assert with_grid({"steps": 3, "weights": former}) == {"steps": 3, "grid": now}


@pytest.mark.parametrize("values", [{}, {"grid": "per-tensor"}, {"weights": "row"}, {"weights": 3}])
def test_all_else_stays_as_it_is(values: dict[str, object]) -> None:
    assert with_grid(values) == values
