"""How initializers decide what quantization costs."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from qnas.api.arguments import chosen_data
from qnas.checkpoints.store import default_checkpoint
from qnas.data.registry import Size, find_data
from qnas.devices import computing, pick_device, worker_count
from qnas.errors import QnasError
from qnas.reports.initialization import write_study
from qnas.runs.progress import Progress, silent
from qnas.studies.init_runs import make_runs
from qnas.studies.init_settings import GHN, find_preset
from qnas.studies.init_study import InitStudy, study_of


def study_init(
    data: str | Path = "fashion",
    *,
    image: Size = "",
    preset: str = "quick",
    seeds: int = 0,
    blocks: Sequence[str] = (),
    initializers: Sequence[str] = (),
    epochs: float = 0.0,
    width: int = 0,
    ghn: str | Path = "",
    workers: int = 1,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Progress = silent,
) -> InitStudy:
    """How initializers decide what quantization costs: section 3 of Yun and Wong. Continues what it finds.

    Networks that differ in their blocks are trained in float from every initializer, then quantized, and the paper's
    findings are held against them. Tables and figures are written into ``out``.

    Args:
        data: see ``search``.
        image: see ``search``.
        preset: ``quick``, minutes; ``middle``, about ten hours of two cores; ``paper``, its protocol. What follows
            takes the place of what a preset says.
        seeds: runs of every network and initializer.
        blocks: of ``qnas.studies.init_settings.BLOCKS``, such as ``dws_conv_with_bn``.
        initializers: of ``qnas.network.initializers.INITIALIZERS``, or ``ghn`` for predicted parameters.
        epochs: passes over the training images.
        width: channels of the first layers.
        ghn: checkpoint that predicts; the data's if empty.
        workers: processes that train; 0 for one a core.
        device: ``cpu``, ``cuda``, or ``auto``.
        out: folder of the study; named after data and preset if there is none.
        progress: see ``qnas.api``.

    Returns:
        The study: its rows, runs and findings.

    Raises:
        QnasError: an argument is wrong, or ``out`` is of another study.
    """
    target, known, usual = pick_device(device), chosen_data(data, image), find_preset(preset)
    for name, value in (("seeds", seeds), ("width", width), ("epochs", epochs)):
        if not 0 <= value < float("inf"):
            raise QnasError(f"`{name}` is above 0, got {value:g}; leave it out for the preset's.")
    chosen = tuple(initializers) or usual.initializers
    settings = replace(
        usual,
        data=known,
        ghn=(str(ghn) or default_checkpoint(known)) if GHN in chosen else "",
        blocks=tuple(blocks) or usual.blocks,
        initializers=chosen,
        seeds=seeds or usual.seeds,
        width=width or usual.width,
        protocol=replace(usual.protocol, epochs=epochs or usual.protocol.epochs),
    )
    folder = Path(out) if out else Path("runs") / f"init-{find_data(known).name}-{preset}"
    processes = worker_count(workers, target)
    with computing(1):
        runs = make_runs(settings, folder, device=target.type, workers=processes, progress=progress)
    study = study_of(settings, runs)
    write_study(study, folder)
    return study
