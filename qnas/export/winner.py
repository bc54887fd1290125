"""Writes a trained network as a folder that holds all a user needs: weights, ONNX, genotype, manifest.

The manifest says how images are prepared, what was measured, and what every file hashes to.
"""

import hashlib
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import torch

import qnas
from qnas.checkpoints.files import write_bytes, write_json, write_tensors
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.export.onnx_writer import write_onnx
from qnas.export.parity import Parity, compare
from qnas.network.costs import costs
from qnas.network.frozen import freeze
from qnas.network.module import Network
from qnas.space.genotype import Genotype

WEIGHTS, MODEL, GENOTYPE, MANIFEST = "network.safetensors", "model.onnx", "genotype.json", "manifest.json"
PROFILES = ("compact",)


def write_winner(
    folder: Path, genotype: Genotype, network: Network, data: DataSet, facts: dict[str, Any], profile: str = "compact"
) -> Parity:
    """Write everything, compare the ONNX model with torch in onnxruntime on the validation images, and say so.

    Args:
        folder: to write to.
        genotype: of the network.
        network: trained and frozen.
        data: it was trained on.
        facts: settings and accuracies for the manifest.
        profile: one of ``PROFILES``; ``compact`` packs weights of 4 bits and less.

    Raises:
        QnasError: no such profile.
    """
    if profile not in PROFILES:
        raise QnasError(f"An export profile is one of {', '.join(PROFILES)}, got {profile!r}; choose one of them.")
    frozen = freeze(network)
    model = write_onnx(frozen).SerializeToString()
    parity = compare(model, frozen, data.validation)
    write_tensors(folder / WEIGHTS, network.state_dict())
    write_bytes(folder / MODEL, model)
    write_json(folder / GENOTYPE, genotype.to_json())
    write_json(folder / MANIFEST, {
        "facts": facts,
        "costs": asdict(costs(network.plan)),
        "parity": asdict(parity),
        "images": {
            "data": data.name,
            "shape": data.image,
            "classes": data.classes,
            "prepare": "(pixel - mean) / deviation for each channel, pixels 8-bit as stored",
            "mean": data.train.mean.flatten().tolist(),
            "deviation": data.train.deviation.flatten().tolist(),
        },
        "onnx_bytes": len(model),
        "sha256": {name: _hash(folder / name) for name in (WEIGHTS, MODEL, GENOTYPE)},
        "versions": {
            "qnas": qnas.__version__,
            "torch": torch.__version__,
            "onnx": onnx.__version__,
            "python": platform.python_version(),
        },
    })  # fmt: skip
    return parity


def _hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a written folder.

    Raises:
        QnasError: there is none, or a file is not what its hash says.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        damaged = [name for name, digest in manifest["sha256"].items() if _hash(folder / name) != digest]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise QnasError(
            f"{folder} holds no readable {MANIFEST} ({error}); export the run again: qnas export RUN"
        ) from error
    if damaged:
        raise QnasError(
            f"Files must hash to what {MANIFEST} says, but {', '.join(damaged)} in {folder} changed; export again."
        )
    return manifest
