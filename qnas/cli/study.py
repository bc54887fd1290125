"""``qnas study`` and ``qnas eval-proxy``: tables that answer questions about the method."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from qnas.cli.errors import in_options
from qnas.cli.options import Image
from qnas.studies.settings import TableSettings

app = typer.Typer(no_args_is_help=True)
USUAL = TableSettings("", "", "")


@app.callback()
def study() -> None:
    """Tables that answer questions about the method."""


@app.command(name="truth", hidden=True)  # as it was called in version 0.1.0
@app.command()
def table(
    data: Annotated[str, typer.Option(help="fashion, digits, cifar10, or a folder of images.")] = "digits",
    image: Image = "",
    space: Annotated[str, typer.Option(help="Search space: a shipped one or a .toml file. Default: the data's.")] = "",
    ghn: Annotated[str, typer.Option(help="Hypernetwork checkpoint. Default: the data's.")] = "",
    networks: Annotated[int, typer.Option(help="Genotypes.")] = USUAL.networks,
    bits: Annotated[list[str] | None, typer.Option(help="Bit widths that each is trained at.")] = None,
    seeds: Annotated[int, typer.Option(help="Full training runs from each start.")] = USUAL.seeds,
    recipe: Annotated[Path | None, typer.Option(help="TOML file of how networks are trained.")] = None,
    steps: Annotated[
        int, typer.Option(help=f"Training steps of a full run. Default: the recipe's, else {USUAL.recipe.steps}.")
    ] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the genotypes.")] = USUAL.seed,
    max_weight_bytes: Annotated[
        float, typer.Option(help="Of every network, at the first bit widths. Default: no limit.")
    ] = 0,
    max_macs: Annotated[float, typer.Option(help="Of every network. Default: no limit.")] = 0,
    parts: Annotated[
        Path | None, typer.Option(help="TOML file of what is trained, at which bits, from where and how long.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes that train; 0: one a core.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    start_from: Annotated[Path | None, typer.Option(help="Older table, or its folder, whose runs are kept.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table; continued if it has one.")] = Path("runs/table"),
) -> None:
    """Train many networks, to know how good a score is: a table of accuracies at several bit widths."""
    import qnas
    from qnas.cli.progress import GOES_ON, say, shown
    from qnas.devices import use_threads

    use_threads(1)
    with shown(GOES_ON) as progress:
        path = qnas.benchmark_table(
            data, image=image, space=space, ghn=ghn, networks=networks, bits=bits or (), seeds=seeds, recipe=recipe,
            steps=steps, seed=seed, max_weight_bytes=max_weight_bytes, max_macs=max_macs, parts=parts or (),
            workers=workers, device=device, start_from=start_from, out=out, progress=progress,
        )  # fmt: skip
    say(f"Table: {path}. Next: qnas eval-proxy --table {shlex.quote(str(path))}")


@app.command()
def layers(
    networks: Annotated[
        list[str],
        typer.Argument(
            help="Folders of winners or runs, files of genotypes, or resnet8, resnet20, ds_cnn, vgg_small.",
            show_default=False,
            metavar="NETWORK...",
        ),
    ],
    bits: Annotated[str, typer.Option(help="Bit widths, such as w4a4. Default: the networks' own.")] = "",
    width: Annotated[int, typer.Option(help="Channels of a hand-made network's first layers; 0: the usual.")] = 0,
    data: Annotated[str, typer.Option(help="auto, fashion, digits, cifar10, or a folder.")] = "auto",
    image: Image = "",
    ghn: Annotated[
        str, typer.Option(help="Checkpoint that predicts untrained networks, or none. Default: the data's.")
    ] = "",
    images: Annotated[int, typer.Option(help="The first so many validation images; 0 for all.")] = 1000,
    remedies: Annotated[bool, typer.Option("--remedies", help="Measure what would help without training.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of random parameters.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder for the figure (SVG, PNG), JSON and CSV.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    csv_output: Annotated[bool, typer.Option("--csv", help="Print CSV, a row a layer.")] = False,
) -> None:
    """Where quantized networks lose their accuracy, layer by layer: ranges, precision, errors, what helps."""
    import qnas
    from qnas.cli.progress import say, shown
    from qnas.devices import use_threads
    from qnas.reports.layers import print_layers

    use_threads(1)
    with shown() as progress:
        found = qnas.study_layers(
            networks, bits, width=width, data=data, image=image, ghn=None if ghn == "none" else ghn, images=images,
            remedies=remedies, seed=seed, device=device, progress=progress,
        )  # fmt: skip
    print_layers(found.networks, found.to_json(), "json" if json_output else "csv" if csv_output else "table")
    for words in found.verdicts:
        say(in_options(words))
    if out:
        say(f"Figure and tables: {found.write(out)}")


@app.command()
def init(
    data: Annotated[str, typer.Option(help="fashion, digits, cifar10, or a folder of images.")] = "fashion",
    image: Image = "",
    preset: Annotated[
        str, typer.Option(help="quick: minutes; middle: about ten hours of two cores; paper: its protocol.")
    ] = "quick",
    seeds: Annotated[int, typer.Option(help="Runs of every network and initializer. Default: the preset's.")] = 0,
    blocks: Annotated[
        list[str] | None, typer.Option(help="Networks, such as dws_conv_with_bn. Default: the preset's.")
    ] = None,
    initializers: Annotated[
        list[str] | None, typer.Option(help="Initializers, such as he_normal, or ghn. Default: all.")
    ] = None,
    epochs: Annotated[float, typer.Option(help="Passes over the training images. Default: the preset's.")] = 0,
    width: Annotated[int, typer.Option(help="Channels of the first layers. Default: the preset's.")] = 0,
    ghn: Annotated[str, typer.Option(help="Hypernetwork checkpoint. Default: the data's.")] = "",
    workers: Annotated[int, typer.Option(help="Processes that train; 0: one a core.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    out: Annotated[Path | None, typer.Option(help="Folder of the study; continued if it has one.")] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """How initializers decide what quantization costs: trained networks, quantized, and the paper's findings."""
    import json

    import qnas
    from qnas.cli.progress import GOES_ON, say, shown

    with shown(GOES_ON) as progress:
        study = qnas.study_init(
            data, image=image, preset=preset, seeds=seeds, blocks=blocks or (), initializers=initializers or (),
            epochs=epochs, width=width, ghn=ghn, workers=workers, device=device, out=out, progress=progress,
        )  # fmt: skip
    if json_output:
        print(json.dumps(study.to_json()))
    else:
        from qnas.reports.initialization import study_tables
        from qnas.reports.tables import show

        for table in study_tables(study):
            show(table)
    say("Tables and figures lie in the folder of the study: study.md, *.csv, study.json, *.svg, *.png")


def eval_proxy(
    data: Annotated[str, typer.Option(help="digits or fashion: whose shipped table is used.")] = "digits",
    table: Annotated[
        Path | None, typer.Option("--table", "--truth", help="Table of qnas study table, or its folder.")
    ] = None,
    start: Annotated[
        str, typer.Option(help="What the truth is: networks trained from random or from predicted parameters.")
    ] = "random",
    labels: Annotated[int, typer.Option(help="Short training runs that the score is fitted to.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the choices of labelled networks.")] = 0,
    epochs: Annotated[
        float, typer.Option(help="Passes over the images of the runs that are the truth. Default: the full runs.")
    ] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Also draw scores against truths, into this SVG file.")] = None,
) -> None:
    """How far the score of untrained networks can be trusted, beside baselines, against a table of trained ones."""
    import json

    import qnas
    from qnas.reports.tables import proxy_table, show

    judged = qnas.evaluate_proxy(table or data, start=start, labels=labels, seed=seed, epochs=epochs)
    if figure:
        from qnas.reports.figures import proxy_figure

        proxy_figure(judged.rows, judged.title, figure)
    if json_output:
        print(json.dumps(judged.to_json()))
    else:
        show(proxy_table(judged.rows, judged.title))
