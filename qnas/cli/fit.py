"""``qnas fit-ghn`` and ``qnas eval-ghn``: train a hypernetwork, and measure it."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qnas.cli.options import Image
from qnas.training.fit_settings import FitSettings

if TYPE_CHECKING:
    from qnas.studies.ghn_tables import GHNTable


def fit_ghn(
    data: Annotated[str, typer.Option(help="fashion, digits, cifar10, or a folder of images.")] = "digits",
    image: Image = "",
    space: Annotated[str, typer.Option(help="Search space: a shipped one, or a .toml file. Default: the data's.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, its state and metrics.")] = Path("runs/ghn"),
    minutes: Annotated[
        float, typer.Option("--minutes", "--max-minutes", help="Minutes of training.")
    ] = FitSettings.minutes,
    steps: Annotated[int, typer.Option(help="Steps of training, instead of minutes.")] = FitSettings.steps,
    float_share: Annotated[
        float, typer.Option(help="Share of the run in float, before quantization-aware.")
    ] = FitSettings.float_share,
    bits: Annotated[str, typer.Option(help="Train at one bit width only, such as w4a4.")] = "",
    mixed_share: Annotated[
        float, typer.Option(help="Share of networks whose layers each have widths of their own; none beside --bits.")
    ] = FitSettings.mixed_share,
    splits: Annotated[
        str, typer.Option(help="Shares of the splits to draw from, such as id=0.8,deep=0.2. Default: some of each.")
    ] = "",
    noise: Annotated[str, typer.Option(help="Bit widths to train with NoiseQuant, such as w2a2; else SimQuant.")] = "",
    closed_head: Annotated[
        float, typer.Option(help="Share of the loss of classifiers in closed form, instead of predicted ones.")
    ] = FitSettings.closed_head,
    repeats: Annotated[
        int, typer.Option(help="How often a network is trained; 30 suits a GPU, which then replays its passes.")
    ] = FitSettings.repeats,
    meta_batch: Annotated[int, typer.Option(help="Networks a step.")] = FitSettings.meta_batch,
    batch: Annotated[int, typer.Option(help="Images a network and step.")] = FitSettings.batch,
    rate: Annotated[float, typer.Option(help="Highest learning rate in float.")] = FitSettings.rate,
    quantized_rate: Annotated[
        float, typer.Option(help="Highest learning rate after that.")
    ] = FitSettings.quantized_rate,
    optimizer: Annotated[str, typer.Option(help="muon for the matrices, or adam for all.")] = FitSettings.optimizer,
    average: Annotated[float, typer.Option(help="Decay of the moving average of the weights.")] = FitSettings.average,
    sweep: Annotated[str, typer.Option(help="Message passing: synchronous, or sequential.")] = "synchronous",
    weights: Annotated[
        str, typer.Option(help="What shares a step: tensor, as in the paper, or channel, as winners have it (default).")
    ] = "",
    size: Annotated[
        str, typer.Option(help="Of the hypernetwork: small, medium or large. Default: what suits the space.")
    ] = "",
    start_from: Annotated[str, typer.Option(help="Checkpoint whose weights to start from.")] = "",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; one is fastest for small networks.")] = 1,
) -> None:
    """Train a graph hypernetwork, quantization-aware at sampled bit widths.

    Several processes share the work under torchrun: torchrun --nproc-per-node 2 -m qnas fit-ghn ...
    """
    import qnas
    from qnas.cli.errors import in_options
    from qnas.cli.progress import say, shown
    from qnas.data.registry import arguments, with_size

    settings = FitSettings(
        steps=steps, minutes=minutes, float_share=float_share, meta_batch=meta_batch, batch=batch, rate=rate,
        quantized_rate=quantized_rate, optimizer=optimizer, average=average, bits=bits, mixed_share=mixed_share,
        splits=splits, noise=noise, closed_head=closed_head, repeats=repeats, seed=seed,
    )  # fmt: skip
    with shown("The same command with --resume goes on where it was saved last.") as progress:
        qnas.fit_ghn(
            data, image=image, space=space, out=out, settings=settings, sweep=sweep, weights=weights,
            size=size, start_from=start_from, resume=resume, device=device, threads=threads, progress=progress,
        )  # fmt: skip
    given = f"{arguments(with_size(data, image))}, ghn={str(out)!r}"
    searched = given + (f", space={space!r}" if space else "")
    calls = f"Measure it with `qnas.evaluate_ghn({given})`, search with it by `qnas.search({searched})`"
    say(f"Checkpoint: {out}. {in_options(calls)}")


def eval_ghn(
    ghn: Annotated[str, typer.Option(help="Checkpoint: a shipped one, or a folder. Default: the data's.")] = "",
    data: Annotated[
        str, typer.Option(help="fashion, digits, cifar10, or a folder of images. Default: the checkpoint's, or digits.")
    ] = "",
    image: Image = "",
    space: Annotated[str, typer.Option(help="Search space. Default: the checkpoint's.")] = "",
    networks: Annotated[int, typer.Option(help="Unseen networks a split.")] = 100,
    split: Annotated[list[str] | None, typer.Option(help="Split: id, deep, wide, bn_free; repeatable.")] = None,
    bits: Annotated[list[str] | None, typer.Option(help="Bit widths such as w4a4; repeatable.")] = None,
    part: Annotated[str, typer.Option(help="Images to score on: test or validation.")] = "test",
    images: Annotated[int, typer.Option(help="Score on the first so many of them; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    weights: Annotated[
        str, typer.Option(help="What shares a step: tensor or channel. Default: as it was trained.")
    ] = "",
    closed_head: Annotated[
        bool, typer.Option(help="Fit classifiers to training images in closed form, instead of predicting them.")
    ] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    card: Annotated[bool, typer.Option(help="Also write the table into the checkpoint's card.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Also draw the table, into this SVG file.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Also write every network's own scores into this file of JSON lines.")
    ] = None,
) -> None:
    """Accuracy of predicted parameters, untrained, on unseen networks: the paper's tables 3 to 5.

    Several processes share the networks under torchrun: torchrun --nproc-per-node 2 -m qnas eval-ghn ...
    """
    import qnas
    from qnas.cli.progress import shown
    from qnas.distributed import is_first

    with shown() as progress:
        table = qnas.evaluate_ghn(
            ghn, data=data, image=image, space=space, networks=networks, splits=split or (), bits=bits or (), part=part,
            images=images, seed=seed, weights=weights, closed_head=closed_head, device=device, threads=threads,
            card=card, progress=progress,
        )  # fmt: skip
    if is_first():
        _give(table, json_output, figure, scores)


def _give(table: "GHNTable", json_output: bool, figure: Path | None, scores: Path | None) -> None:
    import json

    from qnas.reports.tables import ghn_table, show
    from qnas.runs.files import write_rows

    if scores:
        write_rows(scores, table.networks)
    if figure:
        from qnas.reports.figures import ghn_figure  # matplotlib

        ghn_figure(table.rows, table.title, figure)
    if json_output:
        print(json.dumps(table.to_json()))
    else:
        show(ghn_table(table.rows, table.title))
