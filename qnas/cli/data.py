"""``qnas data``: look at a data set before anything is trained on it."""

from pathlib import Path
from typing import Annotated

import typer

from qnas.cli.options import Image


def data(
    data: Annotated[str, typer.Argument(help="fashion, digits, cifar10, or a folder of images.")] = "auto",
    image: Image = "",
    sheet: Annotated[Path | None, typer.Option(help="PNG file for the first images of every class.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what a data set holds: classes, counts, sizes, kinds, imbalance, repetitions, and what is left out.

    Files that are left out are counted; --json names them all.
    """
    import json

    import qnas
    from qnas.cli.errors import in_options
    from qnas.cli.progress import say, shown
    from qnas.data.registry import arguments, with_size
    from qnas.reports.tables import data_table, show

    with shown():
        found = qnas.survey(data, image=image, sheet=sheet or "")
    if json_output:
        print(json.dumps(found.to_json()))
    else:
        show(data_table(found, in_options))
        print(in_options(f"Next: `qnas.search({arguments(with_size(data, image))}, bits='w4a4', minutes=10)`"))
    if sheet:
        say(f"Contact sheet: {sheet}")
