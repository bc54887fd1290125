"""Where quantized networks lose their accuracy."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.table import Table

from qnas.api.arguments import (
    PATH_LIKE,
    AnyArchitecture,
    as_architecture,
    as_bits,
    chosen_data,
    say_checkpoint,
    say_data,
    scored_images,
)
from qnas.api.files import load
from qnas.api.search import SearchRun
from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.data.images import DataSet
from qnas.data.registry import Size, find_data
from qnas.devices import pick_device
from qnas.errors import QnasError
from qnas.exporters.manifest import MANIFEST
from qnas.exporters.winner import Winner
from qnas.network.build import Architecture, build_plan
from qnas.network.initial import he_parameters
from qnas.quant.scheme import Bits
from qnas.reports.layers import flat, layer_tables, layers_figure, verdict, write_layers
from qnas.runs.folder import RUN
from qnas.runs.progress import Progress, Report, silent, stage
from qnas.scores.closed_form import predictor_for
from qnas.studies.layers import SEEN, NetworkLayers
from qnas.studies.layers import study_layers as look
from qnas.studies.studied import Studied, trained, untrained

AnyNetwork = AnyArchitecture | Winner | SearchRun
"""What a study of layers looks at."""


@dataclass(frozen=True)
class LayersStudy:
    """Networks layer by layer: where their rounding loses accuracy.

    Args:
        networks: in the order in which they were given.
    """

    networks: list[NetworkLayers]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A flat row a layer of every network: what ``pandas.DataFrame`` reads."""
        return [row for network in self.networks for row in flat(network)]

    @property
    def verdicts(self) -> list[str]:
        """Of every network what it loses, in which layers, and what helps."""
        return [verdict(network) for network in self.networks]

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        told = zip(self.networks, self.verdicts, strict=True)
        return {"networks": [{**network.to_json(), "verdict": words} for network, words in told]}

    def tables(self) -> list[Table]:
        """For the terminal, 80 columns wide: errors, ranges and, if they were measured, remedies."""
        return [table for network in self.networks for table in layer_tables(network)]

    def figure(self, path: str | Path) -> None:
        """Draw ranges, precision and errors of all networks into a file, ``.svg`` or ``.png``."""
        layers_figure(self.networks, Path(path))

    def write(self, folder: str | Path) -> Path:
        """Write ``layers.json``, ``layers.csv``, ``layers.svg`` and ``layers.png`` into a folder, and return it."""
        return write_layers(self.networks, self.to_json(), Path(folder))


def study_layers(
    networks: AnyNetwork | Sequence[AnyNetwork],
    bits: str | Bits = "",
    *,
    width: int = 0,
    data: str | Path = "auto",
    image: Size = "",
    ghn: str | Path | None = "",
    images: int = 1000,
    remedies: bool = False,
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> LayersStudy:
    """Where quantized networks lose their accuracy, layer by layer, on validation images.

    Args:
        networks: one or several: a winner or its folder, a run or its folder (its winner is meant), a genotype, or a
            hand-made network such as ``resnet8``.
        bits: their widths; their own if empty. A trained network at other widths than its own is rounded after
            training.
        width: channels of a hand-made network's first layers; 0 for its makers'.
        data: see ``search``; ``auto`` is for a trained network what it was trained on.
        image: see ``search``.
        ghn: checkpoint that predicts the parameters of networks that are not trained, the data's if empty; ``None`` for
            random ones.
        images: the first so many validation images; 0 for all.
        remedies: whether to measure what would help without training.
        seed: of random parameters.
        device: ``cpu``, ``cuda``, or ``auto``.
        progress: see ``qnas.api``.

    Returns:
        Rows, tables, a figure and a verdict.

    Raises:
        QnasError: an argument is wrong, or a network is in float.
    """
    target = pick_device(device)
    several: list[AnyNetwork] = list(networks) if isinstance(networks, list | tuple) else [networks]  # type: ignore[list-item]
    found = [_found(network, bits, width) for network in several]
    if not found:
        raise QnasError("At least one network is studied, got none; give for example `networks='resnet8'`.")
    labels = _labels([_name(network, one) for network, one in zip(several, found, strict=True)])
    results, report = [], stage(progress, "layers")
    for place, (name, network) in enumerate(zip(labels, found, strict=True)):
        known = chosen_data(_own_data(network) if str(data) == "auto" else data, image)
        parts = find_data(known).to(target)
        scored = scored_images(parts, "validation", images)
        seen, _ = parts.train.drawn(SEEN).batch(slice(0, SEEN))
        with torch.no_grad():
            studied = _studied(name, network, parts, known, ghn, bits, seed, seen)
        say_data(known, data, parts)
        share = _share(report, place, len(found))
        results.append(look(studied, scored, seen, parts.name, remedies, share))
    return LayersStudy(results)


def _share(report: Report, place: int, count: int) -> Report:
    """What one of several equal parts of a stage reports to."""
    return lambda share, remark: report((place + share) / count, remark)


def _found(network: AnyNetwork, bits: str | Bits, width: int) -> Winner | Architecture:
    """The trained network that is meant, or the architecture."""
    folder = Path(network) if isinstance(network, PATH_LIKE) else None
    if folder and ((folder / MANIFEST).is_file() or (folder / RUN).is_file()):
        read = load(folder)
        network = read if isinstance(read, Winner | SearchRun) else network
    if isinstance(network, SearchRun):
        return network.winner
    return network if isinstance(network, Winner) else as_architecture(network, bits, width)


def _name(network: AnyNetwork, found: Winner | Architecture) -> str:
    """A trained network is called as its folder is, another one by what tells it from all others."""
    if isinstance(found, Winner):
        return Path(network).name if isinstance(network, PATH_LIKE) else found.folder.name
    return found.key


def _labels(names: list[str]) -> list[str]:
    """Names of which no two are equal."""
    return [name if names.count(name) == 1 else f"{name} ({place})" for place, name in enumerate(names, 1)]


def _own_data(network: Winner | Architecture) -> str:
    return str(network.facts["settings"]["data"]) if isinstance(network, Winner) else "auto"


def _studied(
    name: str,
    network: Winner | Architecture,
    data: DataSet,
    known: str,
    ghn: str | Path | None,
    bits: str | Bits,
    seed: int,
    seen: torch.Tensor,
) -> Studied:
    if isinstance(network, Winner):
        if (network.task.image, network.task.classes) != (data.task.image, data.task.classes):
            raise QnasError(
                f"{name} was trained for images {network.task.image} of {network.task.classes} classes, got "
                f"{data.name} with {data.task.image} and {data.task.classes}; leave out `data`."
            )
        architecture = network.genotype.with_bits(as_bits(bits)) if bits else network.genotype
        return trained(name, network.to(seen.device), build_plan(architecture, data.task), seen)
    plan = build_plan(network, data.task)
    if ghn is None:
        parameters = he_parameters(plan, torch.Generator().manual_seed(seed))
        here = {slot: value.to(seen.device) for slot, value in parameters.items()}
        return untrained(name, "random", plan, here, "channel")
    checkpoint = load_checkpoint(str(ghn) or default_checkpoint(known))
    model = predictor_for(checkpoint, data)
    say_checkpoint(checkpoint, data)
    return untrained(name, "predicted", plan, model([plan], whole=False)[0], model.weights)
