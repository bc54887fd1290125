"""The manifest of a winner: what it says, and that the files beside it are what it says of them."""

import hashlib
from contextlib import suppress
from pathlib import Path
from typing import Any

from qnas.errors import QnasError, printable, shown
from qnas.exporters.parity import Parity
from qnas.network.grids import Grids
from qnas.quant.choices import FORMER, check_grid
from qnas.runs.files import write_json
from qnas.runs.reading import MOST_TENSORS, check_file, read_json, reading

WEIGHTS, GENOTYPE, MANIFEST = "network.safetensors", "genotype.json", "manifest.json"
KIND, REMEDY = "the manifest of a winner", "export the run again with `qnas.export(run)`"
SHAPE = {
    "facts": {"settings": {"bits": str}, "accuracy": {}},
    "costs": {},
    "parity": {"images": int, "torch_top1": float, "same_class": float, "runtime?": str},
    "images": {
        "data": str,
        "shape": [int],
        "classes": [str],
        "mean": [float],
        "deviation": [float],
        "highest?": int,
    },
    "device?": ({},),
    "model?": str,
    "model_bytes?": int,
    "onnx_bytes?": int,
    "sha256": {str: str},
    "guides?": [str],
    "versions": {str: str},
    "failed?": str,
    "validation?": {
        "recall": [(float,)], "balanced": float, "majority": float, "at_chance": bool, "confusion": [[int]],
    },
}  # fmt: skip
"""What a manifest has at least."""
FIRST_GRIDS = Grids("asymmetric")
"""Of when manifests did not say."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a written folder.

    Raises:
        QnasError: there is none, or a file is not what its hash says.
    """
    path, remedy = folder / MANIFEST, REMEDY
    manifest = read_json(path, KIND, remedy, SHAPE)
    with reading(path, KIND, remedy):
        classes = manifest["images"]["classes"]
        if "validation" in manifest:
            recall, table = manifest["validation"]["recall"], manifest["validation"]["confusion"]
            if not len(recall) == len(table) == len(classes) or {len(row) for row in table} != {len(classes)}:
                raise ValueError("it has not one recall, and one row and column of a confusion, for each class")
        Parity.from_json(manifest["parity"])
        files = {name: _inside(folder, name) for name in manifest["sha256"]}
        missing = [name for name, file in files.items() if not file.exists()]
        damaged = missing or [name for name, file in files.items() if hash_of(file) != manifest["sha256"][name]]
    if damaged:
        found = f"{printable(damaged[0])} in {folder} {'is missing' if missing else 'changed'}"
        raise QnasError(f"Files must hash to what {MANIFEST} says, but {found}; export again.")
    return manifest


def model_bytes(manifest: dict[str, Any]) -> int:
    """The size of the model's file; manifests of only ONNX had another name for it."""
    size: int = manifest.get("model_bytes", manifest.get("onnx_bytes", 0))
    return size


def grids_in(manifest: dict[str, Any]) -> Grids:
    """The grids that a manifest names, or describes, as it did before they had names."""
    if "grid" in manifest:
        check_grid(manifest["grid"]["name"])
        return Grids(**manifest["grid"])
    if "weights" not in manifest:
        return FIRST_GRIDS
    former = manifest["weights"]
    return Grids(FORMER["channel" if former["per_channel"] else "tensor"], former["learned"], former["fit"])


def take_back(folder: Path) -> None:
    """Remove what an earlier export wrote for a device and for people; a kill leaves a winner to export again."""
    path = folder / MANIFEST
    with suppress(QnasError), reading(path, KIND, ""):
        manifest = read_json(path, KIND, "", SHAPE)
        kept = {name: digest for name, digest in manifest["sha256"].items() if name in (WEIGHTS, GENOTYPE)}
        others = sorted({*manifest["sha256"], *manifest.get("guides", ())} - kept.keys())
        files = [_inside(folder, name) for name in others]
        write_json(path, {**manifest, "sha256": kept, "guides": []})
        for file in files:
            file.unlink(missing_ok=True)


def hash_of(path: Path) -> str:
    """What a file hashes to.

    Raises:
        QnasError: it is too large to be one of a winner.
    """
    check_file(path, MOST_TENSORS)
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _inside(folder: Path, name: str) -> Path:
    """A file of a folder by its name, which leads nowhere else."""
    path = folder / name
    if Path(name).name != name or path.resolve().parent != folder.resolve():
        raise ValueError(f"it names the file {shown(name)}, which lies elsewhere")
    return path
