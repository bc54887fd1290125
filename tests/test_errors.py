"""The closing remark of an error about an unknown word."""

from qnas.errors import did_you_mean


def test_a_close_word_is_suggested() -> None:
    assert did_you_mean("depe", ["deep", "wide", "id"]) == "did you mean 'deep'?"


def test_all_words_are_listed_in_order_when_none_is_close() -> None:
    assert did_you_mean("zzz", ["wide", "deep"]) == "choose from: deep, wide."
