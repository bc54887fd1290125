"""Reads and writes hypernetwork checkpoints: a folder with ``ghn.safetensors`` and ``card.json``.

The configuration travels in the safetensors header, so the weights alone rebuild the model. Nothing is unpickled.
"""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from qnas.data.registry import known_as
from qnas.digest import digest
from qnas.errors import QnasError, shown
from qnas.ghn.config import GHNConfig
from qnas.resources import shipped
from qnas.runs.files import write_json, write_tensors
from qnas.runs.reading import expect, not_finite, parse_json, read_json, read_tensors, reading
from qnas.space.space import find_space
from qnas.task import Task

if TYPE_CHECKING:
    from qnas.ghn.model import GHN

WEIGHTS, CARD = "ghn.safetensors", "card.json"
ROW = {"split": str, "bits": str, "n": int, "top1_mean": float, "top1_sem": float}
CARD_SHAPE = {
    "table?": {"data": str, "part": str, "rows": [ROW]},
    "history?": [{}],
    "place?": str,
    "settings?": {"data?": str},
}
"""What a card has where it is read."""
OTHER = "cifar10"
"""The shipped checkpoint for data that have none of their own (``qnas.scores.closed_form``)."""


@dataclass(frozen=True)
class Checkpoint:
    """A hypernetwork with what it was trained for: the names of data set and space, the task, and where it lies."""

    ghn: "GHN"
    data: str
    space: str
    task: Task
    path: Path

    @property
    def card(self) -> dict[str, Any]:
        """How it was made, and its figures; empty if nobody wrote that down."""
        return read_card(self.path)

    @property
    def weights_hash(self) -> str:
        """What its file of weights hashes to, which tells one hypernetwork from another."""
        return digest((self.path / WEIGHTS).read_bytes())


def save_checkpoint(folder: Path, ghn: "GHN", weights: dict[str, Tensor], task: Task, space: str) -> None:
    """Write the weights (a state dict of ``ghn``) with the configuration, task and space in the header."""
    header = {"config": json.dumps(asdict(ghn.config)), "data": task.data, "space": space}
    header["task"] = json.dumps(asdict(task))
    write_tensors(folder / WEIGHTS, weights, header)


def save_card(folder: Path, card: dict[str, Any]) -> None:
    """Write the card: how the checkpoint was made, and its figures."""
    write_json(folder / CARD, card)


def read_card(folder: Path) -> dict[str, Any]:
    """A checkpoint's card, or nothing if it has none.

    Raises:
        QnasError: it is damaged.
    """
    path = folder / CARD
    if not path.is_file():
        return {}
    return read_json(path, "a card", "delete it, and write it anew with `qnas.evaluate_ghn(card=True)`", CARD_SHAPE)


def checkpoint_names() -> list[str]:
    """The shipped checkpoints, named after their data sets."""
    return sorted(path.parent.name for path in shipped("checkpoints").glob(f"*/{WEIGHTS}"))


def default_checkpoint(data: str) -> str:
    """The shipped checkpoint of a data set; of others one that predicts all but their classifiers."""
    name = known_as(data)
    return name if name in checkpoint_names() else OTHER


def find_checkpoint(name: str) -> Path:
    """The folder of a shipped checkpoint by its name, or of any other by its path.

    Raises:
        QnasError: there is none.
    """
    if name in checkpoint_names():
        return shipped("checkpoints") / name
    if (Path(name) / WEIGHTS).is_file():
        return Path(name)
    raise QnasError(
        f"No checkpoint {name!r}: neither shipped ({', '.join(checkpoint_names()) or 'none'}) nor a folder with "
        f"{WEIGHTS}; train one with `qnas.fit_ghn(data='NAME', out='FOLDER')`, and give `ghn='FOLDER'`."
    )


def load_checkpoint(name: str) -> Checkpoint:
    """Load a shipped checkpoint by its name, or another by its folder.

    Raises:
        QnasError: there is none, its file is damaged or of another version, or its training diverged.
    """
    from qnas.ghn.model import GHN  # which takes a second to import, and most commands load none

    folder = find_checkpoint(name)
    path = folder / WEIGHTS
    remedy = "it is damaged or of another version; give another `ghn`, or train one with `qnas.fit_ghn()`"
    with reading(path, "a hypernetwork", remedy):
        weights, header = read_tensors(path, _shapes)
        config = _config(header)
        if diverged := not_finite(weights):
            raise QnasError(
                f"The training of hypernetwork {name!r} diverged: its tensor {shown(diverged[0])} has values that are "
                "no numbers; give another `ghn`, or train one with `qnas.fit_ghn()`."
            )
        ghn = GHN(config)
        ghn.load_state_dict(weights)
        return Checkpoint(ghn.eval(), header["data"], header["space"], _task(header, ghn), folder)


def _config(header: dict[str, str]) -> GHNConfig:
    told = parse_json(header["config"])
    expect(told, {"decoder": [int]})
    return GHNConfig(**{**told, "decoder": tuple(told["decoder"])})


def _shapes(header: dict[str, str]) -> dict[str, tuple[int, ...]]:
    """Of all tensors of the hypernetwork that a header describes."""
    from qnas.ghn.model import GHN

    with torch.device("meta"):  # which has shapes, and no memory
        return {name: tuple(value.shape) for name, value in GHN(_config(header)).state_dict().items()}


def _task(header: dict[str, str], ghn: "GHN") -> Task:
    """The task in a header; in those of version 0.1.0, which had none, that of the space's file."""
    if "task" not in header:
        return replace(find_space(header["space"]).task, classes=ghn.config.classes, data=header["data"])
    plain: dict[str, Any] = parse_json(header["task"])
    expect(plain, {"image": [int], "classes": int, "data": str, "names": [str], "mean": [float], "deviation": [float]})
    fields: dict[str, Any] = {key: tuple(one) if isinstance(one, list) else one for key, one in plain.items()}
    return Task(**fields)
