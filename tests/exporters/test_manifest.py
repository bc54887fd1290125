"""A manifest by itself; what it says of a written folder is held in ``test_winner``."""

from pathlib import Path
from typing import Any

import pytest

from qnas.errors import QnasError
from qnas.exporters.manifest import grids_in, read_manifest
from qnas.network.grids import Grids

UNREADABLE = (
    r"manifest\.json cannot be read as the manifest of a winner \(.*\); export the run again with `qnas\.export"
)


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, Grids("asymmetric")),
        ({"weights": {"per_channel": False, "learned": False, "fit": None}}, Grids("asymmetric", learned=False)),
        ({"weights": {"per_channel": True, "learned": True, "fit": "absolute"}}, Grids("per-channel", fit="absolute")),
        ({"grid": {"name": "power-of-two", "learned": False, "fit": None}}, Grids("power-of-two", learned=False)),
    ],
)
def test_the_grids_of_a_manifest_are_read_as_all_versions_wrote_them(told: dict[str, Any], expected: Grids) -> None:
    assert grids_in(told) == expected


@pytest.mark.parametrize("content", [None, "", "{", "{}", "[]", '{"sha256": []}'])
def test_a_folder_without_a_readable_manifest_is_refused(tmp_path: Path, content: str | None) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content, encoding="utf-8")
    with pytest.raises(QnasError, match=UNREADABLE):
        read_manifest(tmp_path)
