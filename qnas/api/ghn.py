"""Hypernetworks: train one, and measure it."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from qnas.api.arguments import as_bits, chosen_data, scored_images
from qnas.checkpoints.store import Checkpoint, load_checkpoint, read_card, save_card
from qnas.data.registry import Size, default_space, find_data
from qnas.devices import pick_device, use_threads
from qnas.distributed import joined_ranks, share_memory
from qnas.errors import QnasError, at_least_one, check_seed
from qnas.ghn.config import config_for
from qnas.ghn.model import GHN
from qnas.quant.scheme import PAPER_BITS, Bits
from qnas.runs.progress import Progress, silent, stage
from qnas.scores.closed_form import ClosedForm
from qnas.space.space import find_space
from qnas.studies.ghn_tables import GHNTable, at_chance
from qnas.studies.ghn_tables import evaluate_ghn as tabulate
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_run import fit, open_fit
from qnas.training.fit_settings import FitSettings
from qnas.training.metrics import METRICS

log = logging.getLogger("qnas")


def fit_ghn(
    data: str | Path = "digits",
    *,
    image: Size = "",
    space: str | Path = "",
    out: str | Path = "runs/ghn",
    settings: FitSettings | None = None,
    sweep: str = "synchronous",
    weights: str = "",
    size: str = "",
    start_from: str | Path = "",
    resume: bool = False,
    device: str = "auto",
    threads: int = 1,
    progress: Progress = silent,
    **changes: Any,
) -> Checkpoint:
    """Train a graph hypernetwork quantization-aware at drawn bit widths; in float first, if ``float_share`` says so.

    Several processes share the work when each of them calls this under ``torchrun``.

    Args:
        data: the name of a known data set, or a folder of images.
        image: see ``search``.
        space: name or ``.toml`` file of a search space; the data's if empty.
        out: folder for the checkpoint, its state and its metrics.
        settings: of the training.
        sweep: message passing: ``synchronous``, or ``sequential`` as in GHN-2.
        weights: what shares a step where networks are quantized: a ``tensor``, as in the paper, or a ``channel``, as
            winners are deployed; if empty, as what is started from, or a channel.
        size: of the hypernetwork: ``small``, ``medium`` or ``large``; if empty, as what is started from, or what suits
            the space.
        start_from: checkpoint whose weights to start from; from now on its nodes know their places.
        resume: go on with the run in ``out``.
        device: ``cpu``, ``cuda``, or ``auto``.
        threads: of the processor; one is fastest for small networks.
        progress: see ``qnas.api``.
        **changes: fields of ``FitSettings``, such as ``minutes`` or ``seed``, instead of those in ``settings``.

    Returns:
        The checkpoint.

    Raises:
        QnasError: an argument is wrong, or ``out`` holds another run.
    """
    use_threads(threads)
    how, target, folder = replace(settings or FitSettings(), **changes), pick_device(device), Path(out)
    known = chosen_data(data, image)
    with joined_ranks() as ranks:
        share_memory(target, ranks)
        images = find_data(known).to(target)
        networks = find_space(str(space) or default_space(known)).for_task(images.task)
        torch.manual_seed(how.seed)
        if size and start_from:
            raise QnasError(f"`size` is that of what is started from, got {size!r} beside it; leave one of them out.")
        if start_from:
            ghn = load_checkpoint(str(start_from)).ghn.knowing_places().train()
        else:
            ghn = GHN(config_for(networks, sweep, size=size))
        ghn = ghn.on(weights)
        trainer = GHNTrainer(ghn.to(target), images, networks, how, ranks)
        open_fit(trainer, folder, resume)
        log.info("Training a hypernetwork for %s on %s, %s.", networks.name, images.name, target)
        fit(trainer, folder, str(start_from), stage(progress if ranks.is_first else silent, "fit-ghn"))
    counters = trainer.count_skipped()
    if counters.skipped_networks or counters.skipped_steps:
        log.info("Left out as not finite: %d networks, %d steps.", counters.skipped_networks, counters.skipped_steps)
    if ranks.is_first:
        from qnas.reports.figures import training_figure  # matplotlib, which no training needs

        training_figure(folder / METRICS, folder / "metrics.svg")
        save_card(folder, {**read_card(folder), "place": known})
    ghn.load_state_dict(trainer.averaged)
    return Checkpoint(ghn.cpu().eval(), images.name, networks.name, images.task, folder)


def evaluate_ghn(
    ghn: str | Path = "",
    *,
    data: str | Path = "",
    image: Size = "",
    space: str | Path = "",
    networks: int = 100,
    splits: Sequence[str] = (),
    bits: Sequence[str | Bits] = (),
    part: str = "test",
    images: int = 0,
    seed: int = 0,
    weights: str = "",
    closed_head: bool = False,
    device: str = "auto",
    threads: int = 1,
    card: bool = False,
    progress: Progress = silent,
) -> GHNTable:
    """Accuracy of predicted parameters, untrained, on unseen networks: the paper's tables 3 to 5.

    Several processes share the networks when each of them calls this under ``torchrun``; each gets the whole table.

    Args:
        ghn: name or folder of a checkpoint; the data's if empty, ``digits`` if there are none.
        data: the name of a known data set, or a folder of images; those that the checkpoint was trained on, if empty.
        image: see ``search``.
        space: name or ``.toml`` file of a search space; the checkpoint's if empty.
        networks: how many a split.
        splits: of the space; all of them if empty.
        bits: widths; the paper's if empty.
        part: ``test`` or ``validation`` images.
        images: the first so many of them; 0 for all.
        seed: of the draw of the networks.
        weights: what shares a step, a ``tensor`` or a ``channel``; as the checkpoint was trained, if empty.
        closed_head: whether classifiers are fitted to training images in closed form, instead of predicted.
        device: ``cpu``, ``cuda``, or ``auto``.
        threads: of the processor.
        card: also write the table into the checkpoint's card.
        progress: see ``qnas.api``.

    Returns:
        The table, and every network's own score.

    Raises:
        QnasError: an argument is wrong.
    """
    at_least_one({"networks": networks})
    check_seed(seed)
    use_threads(threads)
    target = pick_device(device)
    known = chosen_data(data, image) if data else ""
    checkpoint = load_checkpoint(str(ghn) or known or "digits")
    known = known or str(checkpoint.card.get("place", checkpoint.data))
    found = find_data(known).to(target)
    scored = scored_images(found, part, images)
    drawn_from = find_space(str(space) or checkpoint.space).for_task(found.task)
    settings = [as_bits(one) for one in bits] or list(PAPER_BITS)
    ghn_on = checkpoint.ghn.to(target).on(weights)
    with joined_ranks() as ranks:
        table = tabulate(
            ClosedForm(ghn_on, found.train) if closed_head else ghn_on,
            drawn_from,
            scored,
            tuple(splits) or drawn_from.splits,
            settings,
            networks,
            seed,
            data=found.name,
            part=part,
            ranks=ranks,
            report=stage(progress if ranks.is_first else silent, "eval-ghn"),
        )
    majority = 100 * int(scored.labels.bincount().max()) / len(scored)
    if poor := at_chance(table.rows, majority):
        guess = "always guessing the commonest class"
        log.info("No better than %s, which is right for %.1f %%: %s.", guess, majority, ", ".join(poor))
    if card and ranks.is_first:
        save_card(checkpoint.path, {**checkpoint.card, "table": table.to_json()})
    return table
