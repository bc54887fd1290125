"""``qnas train``: one network, trained and exported."""

from pathlib import Path
from typing import Annotated

import typer

from qnas.cli.options import Grid, Image, Target
from qnas.training.recipe import Recipe


def train(
    network: Annotated[
        str,
        typer.Argument(
            help="resnet8, resnet20, ds_cnn, vgg_small, a genotype's file, or a winner's folder to go on from.",
            show_default=False,
        ),
    ],
    bits: Annotated[str, typer.Option(help="Bit widths, such as w4a4. Default: the genotype's own, or fp32.")] = "",
    target: Target = "",
    grid: Grid = "",
    width: Annotated[int, typer.Option(help="Channels of a hand-made network's first layers; 0: the usual.")] = 0,
    edges: Annotated[
        int, typer.Option(help="Bits of the weights of the first and last layer, such as 8. Default: as it has.")
    ] = 0,
    data: Annotated[str, typer.Option(help="auto, fashion, digits, cifar10, or a folder.")] = "auto",
    image: Image = "",
    ghn: Annotated[
        str, typer.Option(help="Checkpoint that predicts the start, or none. Default: the data's, for genotypes.")
    ] = "",
    recipe: Annotated[Path | None, typer.Option(help="TOML file of how it is trained.")] = None,
    steps: Annotated[int, typer.Option(help=f"Training steps. Default: the recipe's, {Recipe.steps}.")] = 0,
    epochs: Annotated[float, typer.Option(help="Passes over the training images, instead of steps.")] = 0.0,
    minutes: Annotated[float, typer.Option(help="Time of the whole run, instead of steps.")] = 0.0,
    out: Annotated[Path | None, typer.Option(help="Folder to write. Default: named after the network.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Train one network, quantization-aware, and export it. The same command again continues a run."""
    import json

    import qnas
    from qnas.cli.progress import GOES_ON, shown

    with shown(GOES_ON) as progress:
        winner = qnas.train(
            network, bits, target=target, grid=grid, width=width, edges=edges, data=data, image=image,
            ghn=None if ghn == "none" else ghn, recipe=recipe, steps=steps, epochs=epochs, minutes=minutes, seed=seed,
            device=device, threads=threads, out=out, progress=progress,
        )  # fmt: skip
    if json_output:
        print(json.dumps({"folder": str(winner.folder), "accuracy": winner.accuracies, "parity": winner.parity}))
    else:
        qnas.show(winner.folder)
