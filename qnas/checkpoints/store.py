"""Reads and writes hypernetwork checkpoints: a folder with ``ghn.safetensors`` and ``card.json``.

The configuration travels in the safetensors header, so the weights alone rebuild the model. Nothing is unpickled.
"""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from qnas.checkpoints.files import write_json, write_tensors
from qnas.data.find import is_cifar10
from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.resources import shipped

WEIGHTS, CARD = "ghn.safetensors", "card.json"


@dataclass(frozen=True)
class Checkpoint:
    """A hypernetwork with what it was trained for."""

    ghn: GHN
    data: str
    space: str
    path: Path


def save_checkpoint(folder: Path, ghn: GHN, weights: dict[str, Tensor], data: str, space: str) -> None:
    """Write the weights (a state dict of ``ghn``) with the configuration, data set and space in the header."""
    header = {"config": json.dumps(asdict(ghn.config)), "data": data, "space": space}
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
    try:
        card: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    except ValueError as error:
        raise QnasError(
            f"The card {path} is no JSON ({error}); delete it, and write it anew: qnas eval-ghn --card"
        ) from error
    return card


def checkpoint_names() -> list[str]:
    """The shipped checkpoints, named after their data sets."""
    return sorted(path.parent.name for path in shipped("checkpoints").glob(f"*/{WEIGHTS}"))


def default_checkpoint(data: str) -> str:
    """The shipped checkpoint of a data set.

    Raises:
        QnasError: none is shipped for it.
    """
    name = "cifar10" if is_cifar10(data) else data
    if name in checkpoint_names():
        return name
    raise QnasError(
        f"A search needs a hypernetwork for its data, and none ships for {data!r}; train one with: "
        f"qnas fit-ghn --data {data} --out runs/ghn, and add --ghn runs/ghn"
    )


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
        f"{WEIGHTS}; train one with: qnas fit-ghn --data NAME --out FOLDER, and name it with --ghn FOLDER"
    )


def load_checkpoint(name: str) -> Checkpoint:
    """Load a shipped checkpoint by its name, or another by its folder.

    Raises:
        QnasError: there is none, or its file is damaged or of another version.
    """
    folder = find_checkpoint(name)
    path = folder / WEIGHTS
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        config = json.loads(header["config"])
        ghn = GHN(GHNConfig(**{**config, "decoder": tuple(config["decoder"])}))
        ghn.load_state_dict(weights)
        return Checkpoint(ghn.eval(), header["data"], header["space"], folder)
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0][:120]
        raise QnasError(
            f"Checkpoint {path} is damaged or was written by another version ({reason}); "
            "take another with --ghn, or train one with: qnas fit-ghn"
        ) from error
