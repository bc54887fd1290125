"""Where files lie: the data folders that ship with the package, and what is kept between runs."""

from pathlib import Path

PACKAGE = Path(__file__).parent
CACHE = Path("~/.cache/qnas")
"""Where data sets are looked for and kept unpacked."""


def cache() -> Path | None:
    """That folder; nothing for a user who has no home."""
    try:
        return CACHE.expanduser()
    except RuntimeError:
        return None


def shipped(kind: str) -> Path:
    """The folder of the shipped ``kind`` of files: inside an installed wheel, or at the top of a checkout."""
    installed = PACKAGE / "_data" / kind
    return installed if installed.is_dir() else PACKAGE.parent / kind
