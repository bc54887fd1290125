"""The ``qnas`` program: its commands, and how an error reaches the user."""

import sys

import typer

from qnas.cli.data import data
from qnas.cli.errors import in_options
from qnas.cli.fit import eval_ghn, fit_ghn
from qnas.cli.search import export, search
from qnas.cli.show import report, sample, show
from qnas.cli.study import app as study_app
from qnas.cli.study import eval_proxy
from qnas.cli.train import train
from qnas.errors import QnasError

app = typer.Typer(
    help="Search, train and export low-bit convolutional networks, guided by a graph hypernetwork.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (search, train, show, report, data, export, sample, fit_ghn, eval_ghn, eval_proxy):
    app.command()(command)
app.add_typer(study_app, name="study")


def main() -> None:
    """Run the program. A user's mistake ends in one sentence on stderr and exit code 2."""
    try:
        app()
    except QnasError as error:
        print(f"qnas: {in_options(str(error))}", file=sys.stderr)
        sys.exit(2)
    except OSError as error:
        print(
            f"qnas: The file system refused ({error}); check the path, its permissions and the disk.", file=sys.stderr
        )
        sys.exit(2)
