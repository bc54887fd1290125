"""Finds the two data folders that ship with the package: ``search_spaces`` and ``checkpoints``."""

from pathlib import Path

PACKAGE = Path(__file__).parent


def shipped(kind: str) -> Path:
    """The folder of the shipped ``kind`` of files: inside an installed wheel, or at the top of a checkout."""
    installed = PACKAGE / "_data" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind
