"""Where shipped data is looked for: inside an installed wheel first, then at the top of a checkout."""

from pathlib import Path

import pytest

import qnas.resources
from qnas.resources import shipped


def test_a_checkout_keeps_its_data_at_the_top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qnas.resources, "PACKAGE", tmp_path / "qnas")
    assert shipped("search_spaces") == tmp_path / "search_spaces"


def test_a_wheel_keeps_its_data_inside_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / "qnas" / "_data" / "search_spaces"
    installed.mkdir(parents=True)
    monkeypatch.setattr(qnas.resources, "PACKAGE", tmp_path / "qnas")
    assert shipped("search_spaces") == installed


def test_the_search_spaces_are_there() -> None:
    assert list(shipped("search_spaces").glob("*.toml"))
