"""``qnas study`` and ``qnas eval-proxy``: tables that answer questions about the method."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True)


@app.callback()
def study() -> None:
    """Tables that answer questions about the method."""


@app.command()
def truth(
    data: Annotated[str, typer.Option(help="digits, cifar10, or a folder of images.")] = "digits",
    space: Annotated[str, typer.Option(help="Search space: a shipped one or a .toml file. Default: the data's.")] = "",
    ghn: Annotated[str, typer.Option(help="Hypernetwork checkpoint. Default: the data's.")] = "",
    networks: Annotated[int, typer.Option(help="Genotypes.")] = 150,
    bits: Annotated[list[str] | None, typer.Option(help="Bit widths that each is trained at.")] = None,
    seeds: Annotated[int, typer.Option(help="Full training runs from each start.")] = 2,
    steps: Annotated[int, typer.Option(help="Training steps of a full run.")] = 96,
    seed: Annotated[int, typer.Option(help="Seed of the genotypes.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that train; 0: one a core.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    start_from: Annotated[Path | None, typer.Option(help="Older table, or its folder, whose runs are kept.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of the table; continued if it has one.")] = Path("runs/truth"),
) -> None:
    """Train many networks, to know how good a score is: a table of accuracies at several bit widths."""
    import torch

    from qnas.checkpoints.store import default_checkpoint
    from qnas.cli.devices import pick_device, worker_count
    from qnas.cli.progress import bar, say
    from qnas.data.find import default_space
    from qnas.quant.scheme import Bits
    from qnas.search.jobs import Ledger, Pool
    from qnas.search.run import LEDGER, load_named, open_run
    from qnas.studies.truth import (
        TABLE,
        Truth,
        TruthSettings,
        check_alike,
        describe,
        drawn,
        load_truth,
        run_all,
        save_truth,
        take_over,
        truth_jobs,
    )
    from qnas.training.qat import QATSettings

    torch.set_num_threads(1)
    target = pick_device(device)
    settings = TruthSettings(
        data=data,
        space=space or default_space(data),
        ghn=ghn or default_checkpoint(data),
        networks=networks,
        bits=tuple(Bits.parse(text) for text in bits) if bits else TruthSettings.bits,
        seeds=seeds,
        steps=steps,
        seed=seed,
    )
    named = load_named(settings.data, settings.space, settings.ghn, settings.identity())
    older = load_truth(start_from / TABLE if start_from.is_dir() else start_from) if start_from else None
    if older:
        check_alike(older, named.identity)
    open_run(named.identity, out)
    ledger = Ledger(out / LEDGER)
    if older:
        take_over(older, named.identity, ledger)
    epoch = -(-len(named.data.train) // QATSettings.batch)
    jobs = truth_jobs(settings, drawn(named.space, settings), epoch, target.type)
    with bar("train") as progress, Pool(worker_count(workers, target), ledger) as pool:
        runs = run_all(pool, jobs, progress.update)
    model, images = named.ghn.to(target), named.data.to(target)
    with bar("describe") as progress:
        entries = tuple(describe(runs, model, named.space, images, progress.update))
    path = save_truth(out, Truth(named.identity, epoch, entries))
    say(f"{networks} networks with {len(jobs)} training runs: {path}. Next: qnas eval-proxy --truth {path}")


def eval_proxy(
    data: Annotated[str, typer.Option(help="digits or cifar10: whose shipped table is used.")] = "digits",
    truth: Annotated[Path | None, typer.Option(help="Table of qnas study truth, or its folder.")] = None,
    start: Annotated[
        str, typer.Option(help="What the truth is: networks trained from random or from predicted parameters.")
    ] = "random",
    labels: Annotated[int, typer.Option(help="Short training runs that the score is calibrated with.")] = 50,
    seed: Annotated[int, typer.Option(help="Seed of the choices of labelled networks.")] = 0,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Also draw scores against truths, into this SVG file.")] = None,
) -> None:
    """How far the score of untrained networks can be trusted, beside baselines, against a table of trained ones."""
    import json

    from qnas.checkpoints.store import find_checkpoint
    from qnas.data.find import find_data
    from qnas.errors import QnasError
    from qnas.reports.tables import proxy_table, show
    from qnas.studies.proxy import STARTS, evaluate_proxy
    from qnas.studies.truth import TABLE, load_truth

    if start not in STARTS:
        raise QnasError(f"--start is one of {', '.join(STARTS)}, got {start!r}; choose one of them.")
    path = truth or find_checkpoint(data)
    table = load_truth(path / TABLE if path.is_dir() else path)
    found = find_data(table.settings["data"])
    rows = evaluate_proxy(table, found.image, len(found.classes), start, labels, seed)
    title = f"{found.name}: scores against test accuracy after {table.settings['steps']} steps from {start} parameters"
    if figure:
        from qnas.reports.figures import proxy_figure

        proxy_figure(rows, title, figure)
    if json_output:
        facts = {"data": found.name, "start": start, "steps": table.settings["steps"]}
        print(json.dumps({**facts, "rows": [row.to_json() for row in rows]}))
    else:
        show(proxy_table(rows, title))
