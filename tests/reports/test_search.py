"""The trust line of a search: what it states, and when it warns."""

from typing import Any

import pytest

from qnas.reports.search import (
    UNTRUSTED,
    amount,
    classes_line,
    is_imbalanced,
    mistakes_table,
    surprises,
    trust_line,
    trusted,
)


@pytest.mark.parametrize(("tau", "warned"), [(0.71, False), (0.4, True), (0.12, True)])
def test_the_trust_line_warns_where_the_score_is_no_better_than_size(tau: float, warned: bool) -> None:
    line = trust_line({"labels": 12, "tau": tau, "tau_params": 0.4, "mean_absolute_error": 3.0})
    assert "over 12 short runs" in line
    assert f"tau {tau:.2f} (1: in the right order, 0: in none); the number of parameters alone with 0.40." in line
    assert ("no better than size" in line) == warned


def test_estimates_that_rank_no_better_than_a_coin_are_called_no_help() -> None:
    line = trust_line({"labels": 12, "tau": 0.0, "tau_params": -0.4, "mean_absolute_error": 3.0})
    assert line.endswith("They were no help here: go by the trained accuracies.")


CONFUSION = [[9, 1, 0, 0], [4, 5, 1, 0], [0, 0, 0, 0], [1, 2, 0, 7]]
FOUND: dict[str, Any] = {
    "recall": [90.0, 50.0, None, 70.0], "balanced": 70.0, "majority": 100 / 3, "at_chance": False,
    "confusion": CONFUSION,
}  # fmt: skip


def test_the_weakest_classes_are_named() -> None:
    line = (
        "Classes: balanced accuracy 70.0 %, weakest b 50.0 %, d 70.0 %, a 90.0 %; always guessing the commonest is "
        "right for 33.3 %."
    )
    assert classes_line(FOUND, list("abcd")) == line
    assert classes_line({**FOUND, "at_chance": True}, list("abcd")) == (
        f"{line} The network does no better than guessing: give it more time or images."
    )
    assert classes_line({**FOUND, "majority": 70.0}, list("abcd")).endswith(  # 21 of 30 are right
        "The network is right no more often than that: go by the balanced accuracy."
    )


def test_what_classes_are_taken_for_is_a_table() -> None:
    table = mistakes_table(FOUND, list("abcd"))
    rows = [list(column.cells) for column in table.columns]
    assert rows == [["b", "d", "a"], ["10", "10", "10"], ["50.0", "70.0", "90.0"], ["a 4, c 1", "b 2, a 1", "b 1"]]
    assert is_imbalanced(CONFUSION)
    assert not is_imbalanced([[5, 0], [0, 9]])


def result(*scores: float) -> dict[str, Any]:
    known: dict[str, Any] = {"key": "a", "estimate": None, "trained": {"90": 80.0}}
    others = [{**known, "key": "b", "score": one, "trained": {}} for one in scores[1:]]
    return {"calibration": None, "picks": [{**known, "score": scores[0]}], "candidates": others}


def test_scores_at_chance_are_called_so() -> None:
    """Always guessing is right for 33.3 % of 30 images, with a standard error of 8.6."""
    assert trusted(result(20.0, 52.0), FOUND) == [UNTRUSTED]
    assert trusted(result(50.0, 20.0), FOUND)[1:] == [
        "Scores: the best is 50.0 %, not clearly better than always guessing the commonest class (33.3 %): the "
        "hypernetwork was no help here."
    ]


def test_a_winner_that_did_not_do_what_was_promised_is_called_so() -> None:
    found = result(52.0, 50.0)
    calibration = {"labels": 6, "tau": 0.5, "tau_params": 0.1, "mean_absolute_error": 1.5, "estimates": "full runs"}
    found["calibration"] = calibration
    found["picks"][0]["estimate"] = 82.9
    assert surprises(found, FOUND) == []
    found["picks"][0]["estimate"] = 83.5
    found["candidates"][0]["trained"] = {"10": 84.5}
    assert surprises(found, FOUND) == [
        "The winner's own estimate was 3.5 points too high.",
        "A shorter run reached 4.5 points more (b, 10 steps); of 30 validation images, 14.6 points may be chance.",
    ]
    found["calibration"] = calibration | {"estimates": "short runs"}  # which says nothing of full ones
    assert len(surprises(found, FOUND)) == 1


def test_costs_are_told_with_as_many_digits_as_people_read() -> None:
    assert [amount(one) for one in (16_824, 6.941511, 0.00123456, 1234.5)] == ["16,824", "6.94", "0.00123", "1,234"]
