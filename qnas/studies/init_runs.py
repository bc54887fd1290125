"""How random initializers and predicted parameters decide what quantization costs: Yun and Wong, section 3.

Networks of a few fixed macro-architectures, which differ in their kind of block, are trained in float from every
initializer with several seeds, then quantized without training. A cell is one such run; all cells of one seed see the
same images in the same order, and draw the numbers that become their weights from one generator, so that they
can be compared in pairs.
"""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from math import isfinite
from pathlib import Path
from statistics import fmean
from typing import Any, NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet, Images, shrunk
from qnas.data.registry import find_data
from qnas.network.build import build_plan
from qnas.network.grids import Grids
from qnas.network.handmade import HandMade
from qnas.network.initial import Predictor
from qnas.network.initializers import drawn_parameters, find_initializer, with_drawn_classifier
from qnas.network.module import Network
from qnas.network.plan import Plan
from qnas.network.post_training import LayerRange, activation_ranges, layer_ranges, quantized
from qnas.network.stack import Stack
from qnas.runs.files import remove, write_tensors
from qnas.runs.folder import locked, open_run
from qnas.runs.progress import Progress, silent, stage
from qnas.runs.reading import reading
from qnas.scores.predicted import Score, compared
from qnas.studies.init_settings import BLOCKS, GHN, WIDTHS, InitSettings
from qnas.task import Task
from qnas.training.jobs import data_of, one_thread, predictor_of
from qnas.training.plain import PlainTraining
from qnas.training.start import initial_parameters as noisy_parameters
from qnas.training.start import input_range
from qnas.work.ledger import Ledger, Result
from qnas.work.pool import Pool

CALIBRATION = 1024
"""Training images that show the ranges of activations (Yun and Wong, section 3.1)."""
EARLY = 3
"""Layers that count as early ones."""
NOISE = 0.05
"""Deviation of the noise on predicted weights, relative to each tensor's own: it makes seeds differ."""
AT_ONCE = 128
LEDGER, STATES = "cells.jsonl", "states"
SAVED_EVERY = 60.0
"""Seconds from one saved state of a training to the next."""


class Quantized(NamedTuple):
    """A trained network at some bit widths on the test images (Yun and Wong, section 3.1).

    ``top1``: accuracy in per cent. ``decrease``: the loss of accuracy in per cent of the float network's. ``qmse`` and
    ``qce``: see ``qnas.scores.predicted.Score``.
    """

    top1: float
    decrease: float
    qmse: float
    qce: float


@dataclass(frozen=True)
class Run:
    """One cell: how its training ended and, unless it diverged, what its network reaches.

    Args:
        block: see ``InitSettings``.
        initializer: likewise.
        seed: of initialization, images and dropout.
        status: ``trained``; ``diverged``: a loss, a range or a logit was no number; ``chance``: no better than
            guessing by two standard errors, as where gradients vanish.
        fp32: accuracy in per cent before quantization.
        quantized: at each of ``WIDTHS``.
        layers: what each layer spans.
    """

    block: str
    initializer: str
    seed: int
    status: str
    fp32: float | None
    quantized: dict[str, Quantized]
    layers: tuple[LayerRange, ...]

    @property
    def trained(self) -> bool:
        """Whether it counts in means."""
        return self.status == "trained"

    def early(self, what: str) -> float:
        """The mean of what the first layers span: ``weight``, ``precision`` or ``activation``."""
        return fmean(getattr(layer, what) for layer in self.layers[:EARLY])


@dataclass(frozen=True)
class Batch:
    """Cells of one block and seed, which are trained side by side, described so that any process can do them.

    ``initializers`` are those of the cells, ``folder`` is the study's, ``images`` the fingerprint of its images, as
    JSON, where there is one.
    """

    block: str
    initializers: tuple[str, ...]
    seed: int
    settings: InitSettings
    device: str
    folder: str
    output: str = ""
    images: str = ""

    @property
    def name(self) -> str:
        """What tells it from all others of a study."""
        return f"{self.block}/{'+'.join(self.initializers)}/{self.seed}"

    @property
    def state(self) -> Path:
        """Where its training is saved while it runs."""
        return Path(self.folder) / STATES / f"{self.block}-{self.initializers[0]}-{self.seed}.safetensors"


def make_runs(
    settings: InitSettings,
    folder: Path,
    *,
    device: str = "cpu",
    workers: int = 1,
    progress: Progress = silent,
    do: Callable[[Batch], Result] | None = None,
) -> list[Run]:
    """Do the cells of a study that its folder lacks.

    Args:
        settings: of the study.
        folder: of the study.
        device: where networks are trained.
        workers: processes that train.
        progress: told how far it is.
        do: does a batch of cells; ``run_batch`` if nobody says.

    Raises:
        QnasError: data, checkpoint or width cannot be used, or the folder is of another study, or in use.
    """
    data = find_data(settings.data)
    seen = {"images": data.fingerprint, "ghn_hash": _hash_of(settings)}
    channels, height, width = data.task.image
    image = (channels, height // settings.shrink, width // settings.shrink)
    for block in settings.blocks:
        block_plan(block, settings.width, Task(image, data.task.classes))
    open_run({**settings.identity(), **seen}, folder, {"torch": torch.__version__})
    images, report = json.dumps(seen["images"]), stage(progress, "train")
    batches = [replace(batch, images=images) for batch in batches_of(settings, device, folder)]
    runs: dict[tuple[int, str, str], Run] = {}
    with locked(folder), Pool(do or run_batch, Ledger(folder / LEDGER), workers, one_thread) as pool:
        for done, (batch, result) in enumerate(pool.run(batches), 1):
            runs |= {(run.seed, run.block, run.initializer): run for run in runs_of(batch, result)}
            report(done / len(batches), f"{len(runs)} networks")
    return [runs[cell] for cell in product(range(settings.seeds), settings.blocks, settings.initializers)]


def _hash_of(settings: InitSettings) -> str:
    """The hash of the hypernetwork, where there is one."""
    return load_checkpoint(settings.ghn).weights_hash if settings.ghn else ""


def batches_of(settings: InitSettings, device: str, folder: Path) -> Iterator[Batch]:
    """All cells of a study, those of the first seed first."""
    size = settings.stack or len(settings.initializers)
    for seed, block in product(range(settings.seeds), settings.blocks):
        for start in range(0, len(settings.initializers), size):
            yield Batch(block, settings.initializers[start : start + size], seed, settings, device, str(folder))


def runs_of(batch: Batch, result: Result) -> list[Run]:
    """A batch's cells, from what is written down of it."""
    found = []
    for initializer, cell in result["cells"].items():
        scores = {name: Quantized(**score) for name, score in cell["quantized"].items()}
        layers = tuple(LayerRange(**layer) for layer in cell["layers"])
        found.append(Run(batch.block, initializer, batch.seed, cell["status"], cell["fp32"], scores, layers))
    return found


def run_batch(batch: Batch) -> Result:
    """Train the networks of a batch from where their saved state left off, quantize them and measure them."""
    started, settings = time.perf_counter(), batch.settings
    data = images_of(settings.data, batch.device, settings.shrink, batch.images)
    names = (settings.ghn, settings.data, batch.device, batch.images)
    ghn = predictor_of(*names) if GHN in batch.initializers else None
    plan = block_plan(batch.block, settings.width, data.task)
    several = [initial_parameters(plan, name, batch.seed, ghn) for name in batch.initializers]
    stack = Stack(plan, [{name: value.to(batch.device) for name, value in one.items()} for one in several])
    training = PlainTraining(stack, data, settings.protocol, batch.seed)
    train_through(training, batch.state)
    cells = {}
    for place, (initializer, lost) in enumerate(zip(batch.initializers, training.diverged, strict=True)):
        empty = Network(plan, several[place], input_range(data.train), Grids("asymmetric"))
        network = stack.into(empty.to(batch.device), place)
        cells[initializer] = DIVERGED if lost else measured(network, data, batch.seed, settings.test_images)
    remove(batch.state)
    return {"job": batch.name, "cells": cells, "seconds": round(time.perf_counter() - started, 2)}


def block_plan(block: str, width: int, task: Task) -> Plan:
    """The network of a block.

    Raises:
        QnasError: it cannot be so wide, or images are too small for it.
    """
    design, batch_norm = BLOCKS[block]
    return build_plan(HandMade(design, width, batch_norm=batch_norm), task)


@lru_cache(maxsize=1)
def images_of(name: str, device: str, shrink: int, images: str = "") -> DataSet:
    """A data set on a device, its images made smaller; the last one is kept."""
    return shrunk(data_of(name, device, images), shrink)


DIVERGED: dict[str, Any] = {"status": "diverged", "fp32": None, "quantized": {}, "layers": []}


def initial_parameters(plan: Plan, initializer: str, seed: int, ghn: Predictor | None = None) -> dict[str, Tensor]:
    """What a network begins with, by slot name; ``ghn`` predicts where that is the initializer."""
    generator = torch.Generator().manual_seed(seed)
    if initializer != GHN:
        return drawn_parameters(plan, find_initializer(initializer), generator)
    assert ghn is not None
    predicted = noisy_parameters(plan, ghn, NOISE, generator)
    return with_drawn_classifier(plan, predicted, generator.manual_seed(seed))


def train_through(training: PlainTraining, path: Path, save_every: float = SAVED_EVERY) -> None:
    """Train to the end, or until all networks have diverged; go on from a saved state, and save one now and then.

    Raises:
        QnasError: the saved state is damaged.
    """
    if path.is_file():
        with reading(path, "the state of a training", "delete it, and the same command trains from the start"):
            training.load_state(load_file(path))
    saved = time.monotonic()
    while training.done < training.steps and not all(training.diverged):
        training.step()
        if time.monotonic() - saved >= save_every:
            write_tensors(path, training.state())
            saved = time.monotonic()


def measured(network: Network, data: DataSet, seed: int, images: int) -> dict[str, Any]:
    """What a trained network reaches on the test images, in float and quantized, and what its layers span.

    Args:
        network: in evaluation mode.
        data: on its device.
        seed: of the choice of training images that show the ranges of activations.
        images: test images, the first; 0 for all.
    """
    shown, test = data.train.drawn(CALIBRATION, seed), data.test.first(images or len(data.test))
    batches = (shown.batch(slice(start, start + AT_ONCE))[0] for start in range(0, len(shown), AT_ONCE))
    ranges = activation_ranges(network, batches)
    layers = layer_ranges(network, ranges)
    if not all(isfinite(value) for layer in layers for value in layer[1:]):
        return DIVERGED
    rounded = [quantized(network, bits, ranges) for bits in WIDTHS.values()]
    scores = compared(network, rounded, test, AT_ONCE)
    if not all(isfinite(score.loss) for score in scores):
        return DIVERGED
    fp32 = scores[0].top1 + (scores[0].drop or 0.0)
    found = {name: decreased(score, fp32)._asdict() for name, score in zip(WIDTHS, scores, strict=True)}
    status = "chance" if fp32 <= guessing(test) else "trained"
    return {"status": status, "fp32": fp32, "quantized": found, "layers": [layer._asdict() for layer in layers]}


def decreased(score: Score, fp32: float) -> Quantized:
    """A score beside the float accuracy, both in per cent."""
    drop, qmse, qce = score.drop or 0.0, score.qmse or 0.0, score.qce or 0.0
    return Quantized(score.top1, 100 * drop / fp32 if fp32 else 0.0, qmse, qce)


def guessing(images: Images) -> float:
    """What always guessing the commonest class reaches, and two standard errors more, in per cent."""
    share = int(images.labels.bincount().max()) / len(images)
    error: float = (share * (1 - share) / len(images)) ** 0.5
    return 100 * (share + 2 * error)
