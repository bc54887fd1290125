"""``qnas fit-ghn`` and ``qnas eval-ghn``: train a hypernetwork, and measure it."""

from pathlib import Path
from typing import Annotated

import typer


def fit_ghn(
    data: Annotated[str, typer.Option(help="digits, cifar10, or a folder of images.")] = "digits",
    space: Annotated[str, typer.Option(help="Search space: a shipped one, or a .toml file. Default: the data's.")] = "",
    out: Annotated[Path, typer.Option(help="Folder for the checkpoint, its state and metrics.")] = Path("runs/ghn"),
    max_minutes: Annotated[float, typer.Option(help="Minutes of training.")] = 10.0,
    steps: Annotated[int, typer.Option(help="Steps of training, instead of minutes.")] = 0,
    float_share: Annotated[float, typer.Option(help="Share of the run in float, before quantization-aware.")] = 0.3,
    bits: Annotated[str, typer.Option(help="Train at one bit width only, such as w4a4.")] = "",
    splits: Annotated[
        str, typer.Option(help="Shares of the splits to draw from, such as id=0.8,deep=0.2. Default: some of each.")
    ] = "",
    noise: Annotated[str, typer.Option(help="Bit widths to train with NoiseQuant, such as w2a2; else SimQuant.")] = "",
    meta_batch: Annotated[int, typer.Option(help="Networks a step.")] = 4,
    batch: Annotated[int, typer.Option(help="Images a network and step.")] = 32,
    rate: Annotated[float, typer.Option(help="Highest learning rate in float.")] = 2e-3,
    quantized_rate: Annotated[float, typer.Option(help="Highest learning rate after that.")] = 1e-3,
    average: Annotated[float, typer.Option(help="Decay of the moving average of the weights.")] = 0.998,
    sweep: Annotated[str, typer.Option(help="Message passing: sequential or synchronous.")] = "sequential",
    start_from: Annotated[str, typer.Option(help="Checkpoint whose weights to start from.")] = "",
    resume: Annotated[bool, typer.Option(help="Go on with the run in --out.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything random.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads; one is fastest for small networks.")] = 1,
) -> None:
    """Train a graph hypernetwork: in float, then quantization-aware at sampled bit widths.

    Several processes share the work under torchrun: torchrun --nproc-per-node 2 -m qnas fit-ghn ...
    """
    import torch

    from qnas.checkpoints.store import load_checkpoint
    from qnas.cli.devices import pick_device, use_threads
    from qnas.cli.progress import bar, say, silence
    from qnas.data.find import default_space, find_data
    from qnas.distributed import joined_ranks
    from qnas.ghn.config import config_for
    from qnas.ghn.model import GHN
    from qnas.space.space import find_space
    from qnas.training.fit_ghn import GHNTrainer
    from qnas.training.fit_run import METRICS, fit, open_fit
    from qnas.training.fit_settings import FitSettings

    use_threads(threads)
    settings = FitSettings(
        steps=steps,
        minutes=max_minutes,
        float_share=float_share,
        meta_batch=meta_batch,
        batch=batch,
        rate=rate,
        quantized_rate=quantized_rate,
        average=average,
        bits=bits,
        splits=splits,
        noise=noise,
        seed=seed,
    )
    target = pick_device(device)
    with joined_ranks() as ranks:
        if not ranks.is_first:
            silence()
        images = find_data(data).to(target)
        networks = find_space(space or default_space(data)).for_data(images.image, len(images.classes))
        torch.manual_seed(seed)
        ghn = load_checkpoint(start_from).ghn.train() if start_from else GHN(config_for(networks, sweep))
        trainer = GHNTrainer(ghn.to(target), images, networks, settings, ranks)
        open_fit(trainer, out, resume)
        say(f"Training a hypernetwork for {networks.name} on {images.name}, {target}.")
        with bar("fit-ghn") as progress:
            fit(trainer, out, start_from, progress.update)
    counters = trainer.count_skipped()
    if counters.skipped_networks or counters.skipped_steps:
        say(f"Left out as not finite: {counters.skipped_networks} networks, {counters.skipped_steps} steps.")
    if ranks.is_first:
        from qnas.reports.figures import training_figure

        training_figure(out / METRICS, out / "metrics.svg")
    say(f"Checkpoint: {out}. Measure it with: qnas eval-ghn --ghn {out} --data {data}")


def eval_ghn(
    ghn: Annotated[str, typer.Option(help="Checkpoint: a shipped one, or a folder. Default: the data's.")] = "",
    data: Annotated[str, typer.Option(help="digits, cifar10, or a folder of images.")] = "digits",
    space: Annotated[str, typer.Option(help="Search space. Default: the checkpoint's.")] = "",
    networks: Annotated[int, typer.Option(help="Unseen networks a split.")] = 100,
    split: Annotated[list[str] | None, typer.Option(help="Split: id, deep, wide, bn_free; repeatable.")] = None,
    bits: Annotated[list[str] | None, typer.Option(help="Bit widths such as w4a4; repeatable.")] = None,
    part: Annotated[str, typer.Option(help="Images to score on: test or validation.")] = "test",
    images: Annotated[int, typer.Option(help="Score on the first so many of them; 0 for all.")] = 0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads.")] = 1,
    json_output: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    card: Annotated[bool, typer.Option(help="Also write the table into the checkpoint's card.")] = False,
    figure: Annotated[Path | None, typer.Option(help="Also draw the table, into this SVG file.")] = None,
    scores: Annotated[
        Path | None, typer.Option(help="Also write every network's own scores into this file of JSON lines.")
    ] = None,
) -> None:
    """Accuracy of predicted parameters, untrained, on unseen networks: the paper's tables 3 to 5."""
    import json
    from dataclasses import asdict

    from qnas.checkpoints.files import write_bytes
    from qnas.checkpoints.store import load_checkpoint, read_card, save_card
    from qnas.cli.devices import pick_device, use_threads
    from qnas.cli.progress import bar
    from qnas.data.find import find_data
    from qnas.errors import QnasError
    from qnas.evaluation.ghn_tables import Score, evaluate_ghn
    from qnas.quant.scheme import PAPER_BITS, Bits
    from qnas.reports.tables import ghn_table, show
    from qnas.space.genotype import Genotype
    from qnas.space.space import find_space

    if part not in ("test", "validation") or networks < 1 or images < 0:
        raise QnasError(
            "--part is test or validation, --networks at least 1 and --images at least 0, "
            f"got {part!r}, {networks} and {images}; correct them."
        )
    use_threads(threads)
    target = pick_device(device)
    checkpoint = load_checkpoint(ghn or data)
    found = find_data(data).to(target)
    drawn_from = find_space(space or checkpoint.space).for_data(found.image, len(found.classes))
    settings = [Bits.parse(text) for text in bits] if bits else PAPER_BITS
    splits = split or drawn_from.splits
    total = len(splits) * len(settings) * networks
    scored = found.test if part == "test" else found.validation
    scored = scored.first(images or len(scored))
    lines: list[str] = []

    def keep(split: str, bits: Bits, genotype: Genotype, score: Score) -> None:
        lines.append(
            json.dumps({"split": split, "bits": str(bits), "network": genotype.architecture, **score._asdict()}) + "\n"
        )

    with bar("eval-ghn") as progress:
        rows = evaluate_ghn(
            checkpoint.ghn.to(target), drawn_from, scored, splits, settings, networks, seed,
            lambda done: progress.update(done / total), keep,
        )  # fmt: skip
    table = {
        "data": found.name,
        "part": part,
        "images": len(scored),
        "space": drawn_from.name,
        "seed": seed,
        "rows": [asdict(row) for row in rows],
    }
    title = f"{found.name}, {len(scored)} {part} images, predicted parameters without training"
    if scores:
        write_bytes(scores, "".join(lines).encode())
    if figure:
        from qnas.reports.figures import ghn_figure

        ghn_figure(rows, title, figure)
    if card:
        save_card(checkpoint.path, {**read_card(checkpoint.path), "table": table})
    if json_output:
        print(json.dumps(table))
    else:
        show(ghn_table(rows, title))
