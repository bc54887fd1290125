"""The ``qnas`` program: its commands, and how an error reaches the user."""

import signal
import sys
from io import TextIOWrapper
from types import FrameType
from typing import Annotated, NoReturn

import typer

from qnas import __version__
from qnas.cli.data import data
from qnas.cli.errors import in_options
from qnas.cli.fit import eval_ghn, fit_ghn
from qnas.cli.options import say_in_words
from qnas.cli.search import export, search
from qnas.cli.show import dashboard, logs, report, sample, show
from qnas.cli.study import app as study_app
from qnas.cli.study import eval_proxy
from qnas.cli.train import train
from qnas.errors import QnasError, cut, printable_lines


def _say_version(asked: bool) -> None:
    if asked:
        print(__version__)
        raise typer.Exit


app = typer.Typer(
    help="Search, train and export low-bit convolutional networks, guided by a graph hypernetwork.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


@app.callback()
def program(
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version and end.")
    ] = False,
) -> None:
    """Search, train and export low-bit convolutional networks, guided by a graph hypernetwork."""


for command in (search, train, show, report, dashboard, logs, data, export, sample, fit_ghn, eval_ghn, eval_proxy):
    app.command()(command)
app.add_typer(study_app, name="study")
for registered in (*app.registered_commands, *study_app.registered_commands):
    say_in_words(registered.callback)


STOPS = (signal.SIGINT, signal.SIGTERM)
"""Ctrl-C, and what asks a program to end."""
LONGEST = 140
"""Letters of what the system says, which names paths."""


def main() -> None:
    """Run the program. A user's mistake ends in one sentence on stderr and exit code 2."""
    for number in STOPS:
        signal.signal(number, _stop)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # where a terminal or a name knows not all letters
    try:
        app(prog_name="qnas")
    except QnasError as error:
        _end(in_options(str(error)))
    except OSError as error:
        _end(
            f"The file system refused ({cut(str(error), LONGEST)}); check the path, its permissions and the disk. What "
            "is written stays, and the same command goes on with it."
        )
    finally:
        _let_stop()  # no line of ours can be stopped any more, only Python's own end


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    """Stop in good order at the first Ctrl-C or SIGTERM, and at once at the second, which nothing then catches."""
    _let_stop()
    raise KeyboardInterrupt


def _let_stop() -> None:
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL)


def _end(sentence: str) -> NoReturn:
    print(f"qnas: {printable_lines(sentence)}", file=sys.stderr)
    sys.exit(2)
