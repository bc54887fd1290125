"""Who waits is told how far things are."""

import logging

import pytest

from qnas.runs.progress import counted


def test_who_waits_for_items_is_told_how_far_they_are(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qnas"):
        assert list(counted(iter("abc"), 3, "Read", every=0.0)) == ["a", "b", "c"]
    assert caplog.messages == ["Read 1 of 3 images, about 0 s left.", "Read 2 of 3 images, about 0 s left."]


def test_what_is_left_takes_as_long_an_item_as_those_before(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([100.0, 120.0, 130.0, 160.0])
    monkeypatch.setattr("time.monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO, logger="qnas"):
        list(counted(iter("abc"), 3, "Read", every=15.0))
    assert caplog.messages == ["Read 1 of 3 images, about 40 s left."]  # the second comes too soon after it


def test_who_does_not_wait_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="qnas"):
        assert list(counted([1, 2], 2, "Read")) == [1, 2]
    assert caplog.messages == []
