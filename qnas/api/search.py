"""Search: from a budget to a trained, exported network."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qnas.api.arguments import (
    as_bits,
    as_device,
    as_recipe,
    as_whole,
    check_lengths,
    chosen_data,
    of_epochs,
    say_checkpoint,
    say_data,
    with_grid_of,
)
from qnas.checkpoints.store import default_checkpoint
from qnas.data.registry import Size, default_space, find_data, said, sized
from qnas.devices import idle_processors, pick_device, worker_count
from qnas.exporters.manifest import read_manifest
from qnas.exporters.winner import Winner, load_winner
from qnas.nas.deadline import Deadline
from qnas.nas.limits import Limits
from qnas.nas.picks import export_pick, winner_of
from qnas.nas.planning import SCORED, begun_with, deadline_of, estimate, in_equal_time, measured, steps_within, told
from qnas.nas.prepare import Prepared, default_folder, open_prepared, prepare
from qnas.nas.result import RESULT, read_result
from qnas.nas.samplers import EXPECTED
from qnas.nas.search import Means, of_first_host
from qnas.nas.search import search as run_search
from qnas.nas.settings import BEGUN, SearchSettings
from qnas.quant.scheme import Bits
from qnas.runs.folder import RUN, locked, read_run
from qnas.runs.progress import Progress, Watch, silent, unwatched
from qnas.training.recipe import Recipe
from qnas.work.queue import StudyAddress, check_storage, new_worker

log = logging.getLogger("qnas")
USUAL_MINUTES = 10.0
"""Time of a search whose length nobody says."""
USUAL_BITS = "w4a4"


@dataclass(frozen=True)
class SearchRun:
    """A search in its folder, finished or not.

    Args:
        folder: of the run.
        settings: that it was begun with, as plain values.
    """

    folder: Path
    settings: dict[str, Any]

    @property
    def is_finished(self) -> bool:
        """Whether there is a result."""
        return (self.folder / RESULT).is_file()

    @property
    def result(self) -> dict[str, Any]:
        """What was found, as plain values.

        ``screened``: how many networks were scored; ``calibration``: how far estimates can be trusted; ``picks``: the
        fully trained ones, best first; ``candidates``: all others; ``number``: of each in the order of scoring.

        Raises:
            QnasError: the run is not finished.
        """
        return read_result(self.folder)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Every network that was scored, picks first, one flat row each: what ``pandas.DataFrame`` reads."""
        result = self.result
        networks = [*result["picks"], *result["candidates"]]
        lengths = sorted({steps for one in networks for steps in one["trained"]}, key=int)
        rows = []
        for place, one in enumerate(networks, 1):
            flat = {key: value for key, value in one.items() if key not in ("trained", "genotype", "front")}
            flat |= {f"trained_{steps}": one["trained"].get(steps) for steps in lengths}
            rows.append({"pick": place if place <= len(result["picks"]) else None, **flat})
        return rows

    @property
    def winner(self) -> Winner:
        """The best network, trained and exported.

        Raises:
            QnasError: the run is not finished, or its files are damaged.
        """
        return load_winner(winner_of(self.folder))

    @property
    def parity(self) -> dict[str, Any]:
        """How the winner's exported file compares with torch (``qnas.exporters.parity.Parity``)."""
        comparison: dict[str, Any] = read_manifest(winner_of(self.folder))["parity"]
        return comparison


def search(
    bits: str | Bits = "",
    *,
    target: str | Path = "",
    grid: str = "",
    max_params: float = 0,
    max_macs: float = 0,
    max_weight_bytes: float = 0,
    max_activation_bytes: float = 0,
    max_latency: float = 0.0,
    max_instructions: float = 0.0,
    max_flash: float = 0,
    max_ram: float = 0,
    pareto: str | Sequence[str] = (),
    mixed: bool = False,
    edges: int = 0,
    data: str | Path = "auto",
    image: Size = "",
    space: str | Path = "",
    ghn: str | Path = "",
    sampler: str = SearchSettings.sampler,
    trials: int = 0,
    top: int = 0,
    recipe: Recipe | str | Path | None = None,
    steps: int = 0,
    epochs: float = 0.0,
    minutes: float = 0.0,
    seed: int = 0,
    out: str | Path | None = None,
    device: str = "auto",
    workers: int = 1,
    storage: str = "",
    dry_run: bool = False,
    progress: Progress = silent,
    watch: Watch = unwatched,
) -> SearchRun:
    """Find, train and export the best network within a budget. The same call again continues a run.

    Args:
        bits: widths of weights and activations, such as ``w4a4`` or ``fp32``; where ``mixed``, the widest; if empty,
            the device's usual ones, or ``w4a4``.
        target: device that networks are for: name or ``.toml`` file of a profile
            (``qnas.exporters.device_profiles``), which sets widths, grid, budgets, operations and the exported
            container. What else is said counts, as long as the device can do it.
        grid: of weights and activations, one of ``qnas.quant.choices.GRIDS``; if empty, the recipe's, or the device's.
        max_params: most parameters; 0, here and below, for no limit.
        max_macs: most multiply-accumulates an image.
        max_weight_bytes: most bytes of packed weights and biases.
        max_activation_bytes: most bytes of activations alive at once.
        max_latency: most milliseconds an image in onnxruntime, measured on this machine.
        max_instructions: most millions of instructions an image on a Cortex-M4, by the exported C code's loops.
        max_flash: most bytes of constants in the exported C code.
        max_ram: most bytes of memory that it takes, one image and the logits included.
        pareto: costs to keep small beside a high accuracy, such as ``params,weight_bytes``.
        mixed: whether each layer's widths are chosen, up to ``bits``.
        edges: bits of the weights of the first and of the last layer, such as 8; 0 for as many as others have.
        data: ``auto``, the name of a known data set, or a folder of images.
        image: height and width that images of a folder get, such as ``48x64`` or (48, 64), or both in one, such as 64;
            if empty, the medians of the files, in proportion at most 64.
        space: name or ``.toml`` file of a search space; the data's if empty.
        ghn: name or folder of a hypernetwork's checkpoint; the data's if empty.
        sampler: who proposes networks: one of ``qnas.nas.samplers.SAMPLERS``.
        trials: different networks within the budget to score; 0 for 48 where an outlook proposes them, else for 200.
        top: networks to train in full; 0 for one for every two workers, which share the cores, for one a worker on a
            GPU or where ``pareto`` names costs, at most three, and for three where steps are given.
        recipe: how they are trained, or a file of that.
        steps: training steps of a full run, instead of minutes; a recipe that is given says so too.
        epochs: passes over the training images in a full run, instead of minutes.
        minutes: time of the whole search on this machine, ten if no length is given. What fits is planned at the start:
            all runs of a kind take equal times, the full ones at least half of it all; these are lengthened or
            shortened to what is left when they begin, but where hosts share a search.
        seed: of everything random.
        out: run folder; named after the settings if there is none.
        device: ``cpu``, ``cuda``, or ``auto``.
        workers: processes that screen and train; 0 for one a core.
        storage: URL of a database through which several hosts search together.
        dry_run: check everything, spend nothing, write nothing.
        progress: see ``qnas.api``.
        watch: told the best networks so far, the best first, as plain values, whenever they may have changed.

    Returns:
        The run; its ``winner`` is the best network.

    Raises:
        QnasError: an argument is wrong, no network keeps a budget, the device does not hold the winner, or the folder
            is of another run.
    """
    started, profile = time.monotonic(), as_device(target)
    known, how = chosen_data(data, image), with_grid_of(as_recipe(recipe, steps), grid, profile)
    check_lengths(steps=steps, epochs=epochs, minutes=minutes)
    if not (steps or epochs or minutes or recipe):
        minutes = USUAL_MINUTES
    whole = {
        "params": max_params, "macs": max_macs, "weight_bytes": max_weight_bytes,
        "activation_bytes": max_activation_bytes, "flash": max_flash, "ram": max_ram,
    }  # fmt: skip
    asked = {name: as_whole(f"max_{name}", value) for name, value in whole.items()}
    if profile:
        profile.check_asked(asked)
        asked |= {name: asked[name] or most for name, most in profile.budgets.items()}
    is_expected = sampler == EXPECTED or (sampler == "auto" and not pareto)
    settings = SearchSettings(
        bits=as_bits(bits or (profile.usual_bits if profile else "") or USUAL_BITS),
        limits=Limits(**asked, latency=max_latency, instructions=max_instructions),
        data=known,
        space=str(space) or default_space(known),
        ghn=str(ghn) or default_checkpoint(known),
        sampler=sampler,
        trials=trials or (SCORED if minutes and is_expected else SearchSettings.trials),
        top=top or SearchSettings.top,
        recipe=of_epochs(how, epochs, find_data(known)) if epochs else how,
        seed=seed,
        mixed=mixed,
        edges=edges,
        pareto=tuple(cost for cost in pareto.replace("-", "_").split(",") if cost)
        if isinstance(pareto, str)
        else tuple(pareto),
        minutes=minutes,
        target=profile,
    )
    place = pick_device(device)
    if storage:
        check_storage(storage)
    prepared = prepare(settings)
    folder = Path(out) if out else default_folder(settings, prepared)
    processes = worker_count(workers, place)
    means, deadline = Means(place.type, processes, storage, progress, watch), None
    if minutes or dry_run:
        alone = replace(means, storage="") if dry_run else means
        settings, prepared, deadline = planned(settings, prepared, folder, alone, top, started)
    run = SearchRun(folder, prepared.identity)
    if not dry_run:
        open_prepared(prepared, folder)
    say_data(known, data, prepared.data)
    say_checkpoint(prepared.checkpoint, prepared.data)
    for name in settings.limits.beyond(prepared.space):
        own = f"{getattr(prepared.space, f'max_{name}'):,}"
        log.info("`max_%s` changes nothing: networks of space %r have at most %s.", name, prepared.space.name, own)
    if settings.mixed and settings.is_unbounded:
        log.info("`mixed` pays under a budget on bytes or time, or on a front; without one the widest widths may win.")
    if dry_run and run.is_finished:
        log.info("%s is finished: the same call without `dry_run` returns it.", folder)
    if not dry_run and not run.is_finished:
        images, size = sized(known)
        where = f"{images} at {said(size)}" if size else known
        log.info("Searching %s for %s networks on %s; run folder %s.", settings.space, settings.bits, where, folder)
        run_search(settings, prepared, folder, means, deadline)
        with locked(folder):
            export_pick(folder, or_plain=True)
    return run


def planned(
    settings: SearchSettings, prepared: Prepared, folder: Path, means: Means, top: int, started: float
) -> tuple[SearchSettings, Prepared, Deadline | None]:
    """The settings with what fits into their minutes; those of a run that was begun here or by another host, if any.

    Says the plan, and how long it takes on this machine. A search that begins now and shares its work with no other
    host has a deadline too, by which its full runs are longer or shorter than planned.

    Args:
        settings: of the search.
        prepared: what it needs.
        folder: of the run.
        means: device and number of processes.
        top: full runs that are asked for; 0 for as many as suit the processes.
        started: when the search began, on the clock of ``time.monotonic``.

    Raises:
        QnasError: not even the shortest search fits.
    """
    deadline = None
    if settings.minutes and (folder / RUN).is_file():
        settings = begun_with(settings, read_run(folder, BEGUN)["settings"], top)
    elif settings.minutes and means.storage:
        address = StudyAddress(means.storage, f"{folder.name}/plan", new_worker())
        there = of_first_host(address, lambda: planned_anew(settings, prepared, means, top, started)[0])
        settings = begun_with(settings, there, top)
    else:
        settings, deadline = planned_anew(settings, prepared, means, top, started)
    return settings, replace(prepared, identity={**prepared.identity, **settings.identity()}), deadline


def planned_anew(
    settings: SearchSettings, prepared: Prepared, means: Means, top: int, started: float
) -> tuple[SearchSettings, Deadline | None]:
    """The settings with what fits into their minutes on this machine, and when it is to end; see ``planned``."""
    epoch, workers, deadline = max(1, len(prepared.data.train) // settings.recipe.batch), means.workers, None
    if settings.minutes:
        settings = in_equal_time(settings, workers, top, means.device, idle_processors())
    pace = measured(settings, prepared, means.device, workers, means.progress)
    expected = estimate(pace, settings, prepared, workers)
    if settings.minutes:
        steps = steps_within(60 * settings.minutes, expected, epoch)
        settings = replace(settings, recipe=settings.recipe.of(steps), usual_price=pace.price)
        deadline = deadline_of(started, pace, settings, prepared, workers)
    log.info("Plan: %s", told(settings, expected, epoch))
    return settings, deadline
