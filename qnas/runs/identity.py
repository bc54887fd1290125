"""A run is continued with the settings it was begun with."""

from pathlib import Path
from typing import Any

from qnas.errors import QnasError


def refuse_changes(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Check that a run is continued as it was begun.

    Raises:
        QnasError: a setting differs; the message lists each with its old and new value. Or there are other settings.
    """
    if _names(before) != _names(now):
        raise QnasError(
            f"A run is continued by a version of qnas that knows the settings it was begun with, but {folder} is of "
            "another version; finish it with that one, or name another `out`."
        )
    changed = [key for key in sorted({*before, *now}) if before.get(key) != now.get(key)]
    if changed:
        difference = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} now" for key in changed)
        raise QnasError(
            f"A run is continued with the settings it was begun with, but {folder} differs ({difference}); "
            "give the old settings, or another `out`."
        )


def _names(settings: dict[str, Any]) -> set[str]:
    """The names of all settings and of the settings within them."""
    inner = {f"{key}.{name}" for key, value in settings.items() if isinstance(value, dict) for name in value}
    return {*settings, *inner}
