"""``qnas show``, ``report``, ``dashboard``, ``logs`` and ``sample``: look at what there is, draw architectures."""

from pathlib import Path
from typing import Annotated

import typer


def show(
    what: Annotated[
        str, typer.Argument(help="A run folder, a winner, a genotype file, a space, a device or a checkpoint.")
    ] = "",
) -> None:
    """Show a run, a winner, a genotype, a search space, a device or a checkpoint; without a name, what there is."""
    from qnas.cli.errors import in_options
    from qnas.reports.overview import show_anything

    show_anything(what, in_options)


def report(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished search.")],
    out: Annotated[
        Path | None, typer.Option(help="HTML file to write. Default: report.html in the run's folder.")
    ] = None,
) -> None:
    """Write a finished search as one page of HTML: what was asked, found and missed, and how to have it again."""
    from qnas.cli.errors import in_options
    from qnas.cli.progress import say
    from qnas.reports.page import write_page

    print(write_page(run, out, in_options))
    say("Next: open it in a browser; it needs no network.")


def dashboard(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished search.")],
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen at.")] = 8080,
) -> None:
    """Open a finished search in Optuna's dashboard, until Ctrl-C: every network that was scored is a trial."""
    import qnas

    qnas.dashboard(run, host=host, port=port)


def logs(
    run: Annotated[Path, typer.Argument(help="Folder of a search, of a network's training or of a hypernetwork's.")],
    to: Annotated[str, typer.Option(help="csv or tensorboard.")] = "csv",
    out: Annotated[
        Path | None, typer.Option(help="File, or folder of TensorBoard, to write. Default: in the run's folder.")
    ] = None,
) -> None:
    """Write what a run has noted, as a table or for TensorBoard: metrics by step, a search's networks by number."""
    import shlex

    import qnas
    from qnas.cli.progress import say

    written = qnas.logs(run, to=to, out=out)
    print(written)
    if to == "tensorboard":
        say(f"Next: tensorboard --logdir {shlex.quote(str(written))}")


def sample(
    space: Annotated[str, typer.Option(help="Search space: a shipped one, or a .toml file.")] = "mobile",
    count: Annotated[int, typer.Option(help="How many networks.")] = 10,
    split: Annotated[str, typer.Option(help="Split: id, deep, wide or bn_free.")] = "id",
    part: Annotated[str, typer.Option(help="train, held_out (never used to train a GHN), or all.")] = "all",
    bits: Annotated[str, typer.Option(help="Bit widths that each network carries.")] = "fp32",
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    out: Annotated[Path | None, typer.Option(help="File to write. Default: stdout.")] = None,
) -> None:
    """Draw different architectures within a space's limits, one JSON line each."""
    import qnas
    from qnas.cli.progress import shown
    from qnas.sampling.files import write_genotypes

    genotypes = qnas.sample(space, count, split=split, part=part, bits=bits, seed=seed)
    with shown() as progress:
        write_genotypes(genotypes, out, lambda done: progress("sample", done / count, ""))
