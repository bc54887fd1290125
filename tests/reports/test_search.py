"""The trust line of a search: what it states, and when it warns."""

from typing import Any

import pytest

from qnas.reports.search import UNTRUSTED, classes_line, is_imbalanced, mistakes_table, trust_line, trusted


@pytest.mark.parametrize(("tau", "warned"), [(0.71, False), (0.4, True), (0.12, True)])
def test_the_trust_line_warns_where_the_score_is_no_better_than_size(tau: float, warned: bool) -> None:
    line = trust_line({"labels": 12, "tau": tau, "tau_params": 0.4, "mean_absolute_error": 3.0})
    assert "over 12 short runs" in line
    assert f"tau {tau:.2f}; the number of parameters alone with 0.40." in line
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
    return {"calibration": None, "picks": [{"score": scores[0]}], "candidates": [{"score": one} for one in scores[1:]]}


def test_scores_at_chance_are_called_so() -> None:
    """Always guessing is right for 33.3 % of 30 images, with a standard error of 8.6."""
    assert trusted(result(20.0, 52.0), FOUND) == [UNTRUSTED]
    assert trusted(result(50.0, 20.0), FOUND)[1:] == [
        "Scores: the best is 50.0 %, not clearly better than always guessing the commonest class (33.3 %): the "
        "hypernetwork was no help here."
    ]
