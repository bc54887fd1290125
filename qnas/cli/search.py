"""``qnas search`` and ``qnas export``: from a budget to a trained, exported network."""

from pathlib import Path
from typing import Annotated

import typer

from qnas.cli.options import Grid, Image, Target
from qnas.nas.settings import SearchSettings


def search(
    bits: Annotated[
        str, typer.Option(help="Bit widths of weights and activations, such as w4a4 or fp32. Default: w4a4.")
    ] = "",
    target: Target = "",
    grid: Grid = "",
    max_params: Annotated[float, typer.Option(help="Most parameters. Default: no limit.")] = 0,
    max_macs: Annotated[float, typer.Option(help="Most multiply-accumulates an image. Default: no limit.")] = 0,
    max_weight_bytes: Annotated[
        float, typer.Option(help="Most bytes of packed weights and biases. Default: no limit.")
    ] = 0,
    max_activation_bytes: Annotated[
        float, typer.Option(help="Most bytes of activations alive at once. Default: no limit.")
    ] = 0,
    max_latency: Annotated[
        float, typer.Option(help="Most milliseconds an image in onnxruntime, measured here. Default: no limit.")
    ] = 0,
    max_instructions: Annotated[
        float, typer.Option(help="Most millions of a Cortex-M4's instructions an image, in C. Default: no limit.")
    ] = 0,
    max_flash: Annotated[
        float, typer.Option(help="Most bytes of constants in the exported C code. Default: no limit.")
    ] = 0,
    max_ram: Annotated[
        float, typer.Option(help="Most bytes of RAM that it takes, with one image and the logits. Default: no limit.")
    ] = 0,
    pareto: Annotated[
        str, typer.Option(help="Costs to keep small beside a high accuracy, such as params,weight_bytes.")
    ] = "",
    mixed: Annotated[
        bool, typer.Option("--mixed", help="Choose each layer's widths, up to --bits.")
    ] = SearchSettings.mixed,
    edges: Annotated[
        int, typer.Option(help="Bits of the weights of the first and last layer, such as 8. Default: as all others.")
    ] = SearchSettings.edges,
    data: Annotated[str, typer.Option(help="auto, fashion, digits, cifar10, or a folder.")] = "auto",
    image: Image = "",
    space: Annotated[str, typer.Option(help="Search space: a shipped one or a .toml file. Default: the data's.")] = "",
    ghn: Annotated[str, typer.Option(help="Hypernetwork checkpoint. Default: the data's.")] = "",
    sampler: Annotated[
        str, typer.Option(help="Who proposes: auto, expected, tpe, nsga2, evolution, random.")
    ] = SearchSettings.sampler,
    trials: Annotated[int, typer.Option(help="Different networks within the budget to score; 0: what suits.")] = 0,
    top: Annotated[
        int,
        typer.Option(help="Networks to train in full; 0: one for two workers, at most three, or three with --steps."),
    ] = 0,
    recipe: Annotated[Path | None, typer.Option(help="TOML file of how networks are trained.")] = None,
    minutes: Annotated[
        float, typer.Option(help="Time of the whole search. Default: 10, if no other length is given.")
    ] = SearchSettings.minutes,
    epochs: Annotated[
        float, typer.Option(help="Passes over the training images in a full run, instead of minutes.")
    ] = 0.0,
    steps: Annotated[int, typer.Option(help="Training steps of a full run, instead of minutes.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: named after the settings.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = SearchSettings.seed,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that screen and train; 0: one a core.")] = 0,
    storage: Annotated[
        str, typer.Option(help="Database URL that several hosts search through, such as postgresql://user@host/name.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, spend nothing.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find, train and export the best network within a budget. The same command again continues a run."""
    import qnas
    from qnas.cli.errors import in_options
    from qnas.cli.progress import GOES_ON, say, shown
    from qnas.devices import use_threads
    from qnas.reports.page import keep_page
    from qnas.reports.search import print_result

    use_threads(1)
    with shown(GOES_ON) as progress:
        run = qnas.search(
            bits, target=target, grid=grid, max_params=max_params, max_macs=max_macs,
            max_weight_bytes=max_weight_bytes, max_activation_bytes=max_activation_bytes, max_latency=max_latency,
            max_instructions=max_instructions, max_flash=max_flash, max_ram=max_ram, pareto=pareto, mixed=mixed,
            edges=edges, data=data, image=image, space=space, ghn=ghn, sampler=sampler, trials=trials, top=top,
            recipe=recipe, steps=steps, epochs=epochs, minutes=minutes, seed=seed, out=out, device=device,
            workers=workers, storage=storage, dry_run=dry_run, progress=progress, watch=progress.watch,
        )  # fmt: skip
        if not dry_run:
            keep_page(run.folder, in_options)
    if dry_run:
        say("The settings are sound: data, space and checkpoint fit together, and the budgets can be kept.")
    else:
        print_result(run.folder, json_output, in_options)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished search, or a winner's folder.")],
    pick: Annotated[int, typer.Option(help="Which of its picks, 1 for the winner.")] = 1,
    profile: Annotated[
        str,
        typer.Option(
            help="compact (default): 4-bit weights two a byte. unpacked: every weight in a byte. "
            "opset13: likewise, for older runtimes. opset25: 2-bit weights four a byte. c: C99 in integers. "
            "qonnx: for FINN and hls4ml. "
            "tflite: TensorFlow Lite. torch: a program of torch.export. safetensors: integers, for your own runtime."
        ),
    ] = "",
    uint8_input: Annotated[
        bool, typer.Option("--uint8-input", help="The model takes 8-bit pixels, channels last, and normalises them.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder to write to. Default: one inside the run's for each pick and profile.")
    ] = None,
    json_output: Annotated[bool, typer.Option("--json", help="Print folder and comparison as JSON.")] = False,
) -> None:
    """Write a pick of a finished search, or a winner, in a container for what is to run it, checked where it runs."""
    import json

    import qnas
    from qnas.exporters.manifest import read_manifest
    from qnas.reports.search import model_line, use_line

    exported = qnas.export(run, pick, profile=profile, uint8_input=uint8_input, out=out)
    if json_output:
        print(json.dumps({"folder": str(exported.folder), "parity": exported.parity.to_json()}))
        return
    manifest = read_manifest(exported.folder)
    print(f"Exported: {model_line(exported.folder, manifest)}\n{use_line(exported.folder, manifest)}")
