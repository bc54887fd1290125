"""``qnas search`` and ``qnas export``: from a budget to a trained, exported network."""

from pathlib import Path
from typing import Annotated

import typer


def search(
    bits: Annotated[str, typer.Option(help="Bit widths of weights and activations, such as w4a4 or fp32.")] = "w4a4",
    max_params: Annotated[float, typer.Option(help="Most parameters.")] = 0,
    max_macs: Annotated[float, typer.Option(help="Most multiply-accumulates an image.")] = 0,
    max_weight_bytes: Annotated[float, typer.Option(help="Most bytes of packed weights and biases.")] = 0,
    max_activation_bytes: Annotated[float, typer.Option(help="Most bytes of activations alive at once.")] = 0,
    max_latency: Annotated[float, typer.Option(help="Most milliseconds an image in onnxruntime, measured here.")] = 0,
    pareto: Annotated[
        str, typer.Option(help="Costs to keep small beside a high accuracy, such as params,weight_bytes.")
    ] = "",
    mixed: Annotated[bool, typer.Option(help="Choose each layer's widths, up to --bits.")] = False,
    data: Annotated[str, typer.Option(help="auto, digits, cifar10, or a folder of images.")] = "auto",
    space: Annotated[str, typer.Option(help="Search space: a shipped one or a .toml file. Default: the data's.")] = "",
    ghn: Annotated[str, typer.Option(help="Hypernetwork checkpoint. Default: the data's.")] = "",
    sampler: Annotated[str, typer.Option(help="Who proposes: auto, tpe, nsga2, evolution, random.")] = "auto",
    trials: Annotated[int, typer.Option(help="Different networks within the budget to score.")] = 200,
    top: Annotated[int, typer.Option(help="Networks to train in full.")] = 3,
    steps: Annotated[int, typer.Option(help="Training steps of a full run.")] = 900,
    out: Annotated[Path | None, typer.Option(help="Run folder. Default: named after the settings.")] = None,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    workers: Annotated[int, typer.Option(help="Processes that screen and train; 0: one a core.")] = 0,
    storage: Annotated[
        str, typer.Option(help="Database URL that several hosts search through, such as postgresql://user@host/name.")
    ] = "",
    dry_run: Annotated[bool, typer.Option(help="Check everything, spend nothing.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find, train and export the best network within a budget. The same command again continues a run."""
    import torch

    from qnas.checkpoints.store import default_checkpoint
    from qnas.cli.devices import pick_device, worker_count
    from qnas.cli.progress import bar, say
    from qnas.data.find import check_data, default_space
    from qnas.quant.scheme import Bits
    from qnas.reports.search import print_result
    from qnas.search.board import check_storage
    from qnas.search.limits import Limits
    from qnas.search.picks import export_pick
    from qnas.search.run import RESULT, default_folder, open_run, prepare
    from qnas.search.run import search as run_search
    from qnas.search.samplers import check_sampler
    from qnas.search.settings import SearchSettings

    torch.set_num_threads(1)
    found, remark = choose_data() if data == "auto" else (data, f"Data: {data}.")
    check_data(found)
    check_sampler(sampler)
    settings = SearchSettings(
        bits=Bits.parse(bits),
        limits=Limits(
            params=whole("--max-params", max_params),
            macs=whole("--max-macs", max_macs),
            weight_bytes=whole("--max-weight-bytes", max_weight_bytes),
            activation_bytes=whole("--max-activation-bytes", max_activation_bytes),
            latency=max_latency,
        ),
        data=found,
        space=space or default_space(found),
        ghn=ghn or default_checkpoint(found),
        sampler=sampler,
        trials=trials,
        top=top,
        steps=steps,
        seed=seed,
        mixed=mixed,
        pareto=tuple(cost for cost in pareto.replace("-", "_").split(",") if cost),
    )
    if settings.mixed and settings.is_unbounded:
        say("--mixed pays under a budget on bytes or time, or with --pareto; without one the widest widths may win.")
    target = pick_device(device)
    if storage:
        check_storage(storage)
    prepared = prepare(settings)
    if dry_run:
        say(remark)
        say("The settings are sound: data, space and checkpoint fit together, and the budgets can be kept.")
        return
    folder = out or default_folder(settings, prepared)
    processes = worker_count(workers, target)
    open_run(prepared.identity, folder)
    say(remark)
    say(f"Searching {settings.space} for {bits} networks on {prepared.data.name}; run folder {folder}.")
    if not (folder / RESULT).is_file():
        run_search(settings, prepared, folder, target.type, processes, bar, storage)
        export_pick(folder)
    print_result(folder, as_json=json_output)


def export(
    run: Annotated[Path, typer.Argument(help="Run folder of a finished search.")],
    pick: Annotated[int, typer.Option(help="Which of its picks, 1 for the winner.")] = 1,
    profile: Annotated[str, typer.Option(help="compact: packed 4-bit weights.")] = "compact",
    out: Annotated[Path | None, typer.Option(help="Folder to write to. Default: inside the run's.")] = None,
) -> None:
    """Write a pick of a finished search as ONNX and safetensors, checked in onnxruntime."""
    import json
    from dataclasses import asdict

    from qnas.search.picks import export_pick

    folder, parity = export_pick(run, pick, profile, out)
    print(json.dumps({"folder": str(folder), "parity": asdict(parity)}))


def whole(option: str, value: float) -> int:
    """A number such as 1e7, which the command line reads as a float, as an integer."""
    from qnas.errors import QnasError

    if not value.is_integer():
        raise QnasError(f"A budget is a whole number, got {option} {value:g}; write for example {option} 1e7.")
    return int(value)


def choose_data() -> tuple[str, str]:
    """CIFAR-10 where it lies on the machine and a checkpoint for it is shipped, else the digits; and a remark on it."""
    from qnas.checkpoints.store import checkpoint_names
    from qnas.data.find import cifar10_folder

    found, ready = cifar10_folder() is not None, "cifar10" in checkpoint_names()
    if found and ready:
        return "cifar10", "Data: CIFAR-10, found on this machine. For the embedded digits: --data digits"
    remedy = (
        "train a checkpoint for it with: qnas fit-ghn --data cifar10" if found else "give its folder with --data PATH"
    )
    return "digits", f"Data: the embedded digits. For CIFAR-10 {remedy}"
