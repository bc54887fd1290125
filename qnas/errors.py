"""The one exception for mistakes a user can mend; the command line turns it into one sentence and exit code 2.

A message speaks of arguments and calls of the package, between backticks: `max_params`, `qnas.fit_ghn(data='PATH')`.
The command line alone knows how to write them as its options (``qnas.cli.errors``).
"""

import difflib
import re
from collections.abc import Iterable

UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
"""Letters that steer a terminal, turn a line around, or cannot be written."""
MOST_COUNT, SEEDS = 10**9, 2**32
SHOWN = 60
"""Letters of a value that an error shows."""


class QnasError(Exception):
    """A mistake in what the user gave. The message names the rule, the value received and the next step."""


def printable(text: str) -> str:
    """A text with an escape, as Python writes it, for each letter that is ``UNPRINTABLE``."""
    return UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def printable_lines(text: str) -> str:
    """The same for a text of several lines."""
    return "\n".join(map(printable, text.split("\n")))


def shown(value: object, most: int = SHOWN) -> str:
    """A value as an error shows it, cut to so many letters."""
    if isinstance(value, str | list | tuple | dict) and len(value) > most:
        value = value[:most] if not isinstance(value, dict) else dict(list(value.items())[:most])
    return cut(printable(repr(value)), most)


def cut(text: str, most: int) -> str:
    """A text of no more than so many letters, and three dots where there were more."""
    return text if len(text) <= most else f"{text[:most]}..."


def at_least_one(arguments: dict[str, int]) -> None:
    """Check counts by the names of their arguments.

    Raises:
        QnasError: one is below 1, or above what any machine counts to in time.
    """
    for name, value in arguments.items():
        if value < 1:
            raise QnasError(f"`{name}` is at least 1, got {value}; leave it out for the default.")
        if value > MOST_COUNT:
            raise QnasError(f"`{name}` is at most {MOST_COUNT}, got {shown(value)}; leave it out for the default.")


def check_seed(seed: int) -> None:
    """Check a seed.

    Raises:
        QnasError: it is none that all random generators take.
    """
    if not 0 <= seed < SEEDS:
        raise QnasError(f"`seed` is 0 to {SEEDS - 1}, got {shown(seed)}; leave it out for 0.")


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Check that something is called so.

    Raises:
        QnasError: nothing of its kind is.
    """
    names = list(known)
    if name not in names:
        raise QnasError(f"No {what} is called {shown(name)}; {did_you_mean(name, names)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing remark for an error about an unknown ``word``: the closest known one, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word[:SHOWN], names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from: {', '.join(names)}."
