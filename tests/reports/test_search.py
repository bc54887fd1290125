"""The trust line of a search: what it states, and when it warns."""

import pytest

from qnas.reports.search import classes_line, trust_line


@pytest.mark.parametrize(("tau", "warned"), [(0.71, False), (0.4, True), (0.12, True)])
def test_the_trust_line_warns_where_the_score_is_no_better_than_size(tau: float, warned: bool) -> None:
    line = trust_line({"labels": 12, "tau": tau, "tau_params": 0.4, "mean_absolute_error": 3.0})
    assert "over 12 short runs" in line
    assert f"tau {tau:.2f}; the number of parameters alone with 0.40." in line
    assert ("no better than size" in line) == warned


def test_the_weakest_classes_are_named() -> None:
    found = {"recall": [90.0, 50.0, None, 70.0, 60.0], "balanced": 67.5, "majority": 25.0, "at_chance": False}
    assert classes_line(found, ["a", "b", "c", "d", "e"]) == (
        "Classes: balanced accuracy 67.5 %, weakest b 50.0 %, e 60.0 %, d 70.0 %; always guessing the commonest is "
        "right for 25.0 %."
    )
    assert classes_line({**found, "at_chance": True}, list("abcde")).endswith(
        "The network does no better than guessing: give it more time or images."
    )
