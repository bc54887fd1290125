"""A run is continued with the settings it was begun with."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qnas.errors import QnasError

IMAGES, PLACE, VERSION = "images", "data", "way"
"""The settings that say which images a run is of (``DataSet.fingerprint``), where they lie, which may change, and
where a run has one, the version of how it works."""
WORDS = {f"{IMAGES}.pixels": "the images themselves, or which class they are of (hash of all pixels and labels)"}
"""What settings are called whose names say too little."""
LONGEST = 300
"""Letters of a value that are shown."""


def refuse_changes(before: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    """Check that a run is continued as it was begun.

    Raises:
        QnasError: a setting differs; the message lists each with its old and new value. Or there are other settings.
    """
    numbered = VERSION in {*before, *now}
    if before.get(VERSION) != now.get(VERSION) if numbered else _names(before) != _names(now):
        raise QnasError(
            f"A run is continued by a version of qnas that knows the settings it was begun with, but {folder} is of "
            "another version; finish it with that one, or name another `out`."
        )
    same_images = IMAGES in now and before.get(IMAGES) == now[IMAGES]
    changed = [
        (key, then, value)
        for key, then, value in _pairs(before, now)
        if then != value and not (key == PLACE and same_images)
    ]
    if changed:
        difference = "; ".join(
            f"{WORDS.get(key, key)}: {_short(then)} there, {_short(value)} now" for key, then, value in changed
        )
        raise QnasError(
            f"A run is continued with the settings it was begun with, but {folder} differs ({difference}); "
            "give the old settings, or another `out`."
        )


def _pairs(before: dict[str, Any], now: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    """Every setting, also of those within others, with its old and its new value."""
    for key in sorted({*before, *now}):
        then, value = before.get(key), now.get(key)
        if isinstance(then, dict) and isinstance(value, dict):
            yield from ((f"{key}.{name}", then.get(name), value.get(name)) for name in sorted({*then, *value}))
        else:
            yield key, then, value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _names(settings: dict[str, Any]) -> set[str]:
    """The names of all settings and of the settings within them."""
    inner = {f"{key}.{name}" for key, value in settings.items() if isinstance(value, dict) for name in value}
    return {*settings, *inner}
