"""The one exception for mistakes a user can mend; the command line turns it into one sentence and exit code 2.

A message speaks of arguments and calls of the package, between backticks: `max_params`, `qnas.fit_ghn(data='PATH')`.
The command line alone knows how to write them as its options (``qnas.cli.errors``).
"""

import difflib
from collections.abc import Iterable


class QnasError(Exception):
    """A mistake in what the user gave. The message names the rule, the value received and the next step."""


def at_least_one(arguments: dict[str, int]) -> None:
    """Check counts by the names of their arguments.

    Raises:
        QnasError: one is below 1.
    """
    for name, value in arguments.items():
        if value < 1:
            raise QnasError(f"`{name}` is at least 1, got {value}; leave it out for the default.")


def check_known(what: str, name: str, known: Iterable[str]) -> None:
    """Check that something is called so.

    Raises:
        QnasError: nothing of its kind is.
    """
    names = list(known)
    if name not in names:
        raise QnasError(f"No {what} is called {name!r}; {did_you_mean(name, names)}")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """A closing remark for an error about an unknown ``word``: the closest known one, else all of them."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"choose from: {', '.join(names)}."
