"""What the commands gave when this file was written, and give ever since.

``tests/pinned/results.json`` holds them with the processor that they were made on. There everything is compared to the
last bit; another processor may round a sum otherwise, so that after some steps of training an image falls on the other
side: there accuracies may differ by a few images and files' hashes are not looked at. ``python tests/test_pinned.py``
writes the file anew, which is right only when a result was meant to change.
"""

import hashlib
import io
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import onnx
import pytest
from safetensors.numpy import load_file

from qnas.cli.main import app

HERE = Path(__file__).parent / "pinned"
RESULTS = HERE / "results.json"
SEARCH = ("search", "--data", "digits", "--trials", "6", "--steps", "12", "--top", "2", "--max-params", "12000")
APART, SHARE = 2.5, 0.1
"""By how many points accuracies of some hundred images may differ on another processor, and by what share of themselves
all numbers, such as squared errors of logits that have no bound."""


def qnas(*arguments: str) -> str:
    """What a command prints."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        app(list(arguments), standalone_mode=False)
    return printed.getvalue()


def processor() -> str:
    """Vendor, family and model of this machine's processor, and the widest vectors it has."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").split("\n\n")[0].splitlines()
    facts = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    wide = [flag for flag in ("avx2", "avx512f", "amx_bf16") if flag in facts.get("flags", "").split()]
    return " ".join([*(facts.get(key, "") for key in ("vendor_id", "cpu family", "model")), *wide])


def graph_of(path: Path) -> bytes:
    """An ONNX model without what it says of itself, which names versions."""
    model = onnx.load(path)
    del model.metadata_props[:]
    content: bytes = model.SerializeToString()
    return content


def digest_of_tensors(path: Path) -> str:
    """A hash of all tensors of a file, whose header may hold its facts in any order."""
    tensors = sorted(load_file(path).items())
    return hashlib.sha256(b"".join(name.encode() + tensor.tobytes() for name, tensor in tensors)).hexdigest()


def searched(folder: Path, *options: str) -> dict[str, Any]:
    """A search in ``folder``: every network with its accuracies and costs, and the hashes of the winner's files."""
    recipe = folder.with_name("recipe.toml")
    recipe.write_text('precision = "float32"\n', encoding="utf-8")  # whatever the processor has besides
    qnas(*SEARCH, *options, "--recipe", str(recipe), "--out", str(folder))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    every = result["picks"] + result["candidates"]
    manifest = json.loads((folder / "winner" / "manifest.json").read_text(encoding="utf-8"))
    model = graph_of(folder / "winner" / "model.onnx")
    return {
        "genotypes": {one["key"]: one["genotype"] for one in every},
        "costs": {
            one["key"]: [one[name] for name in ("params", "macs", "weight_bytes", "activation_bytes")] for one in every
        },
        "accuracies": {one["key"]: [one["score"], one["estimate"], one["trained"], one["test"]] for one in every},
        "picks": [one["key"] for one in result["picks"]],
        "trust": result["calibration"],
        "parity": [manifest["parity"][name] for name in ("torch_top1", "onnxruntime_top1", "same_class")],
        "onnx_bytes": len(model),
        "onnx": hashlib.sha256(model).hexdigest(),
        "weights": digest_of_tensors(folder / "winner" / "network.safetensors"),
    }


def resumed(folder: Path) -> dict[str, Any]:
    """The search at W4A4 after it was stopped early in its training and again while it screened."""
    searched(folder, "--bits", "w4a4", "--workers", "1")
    for name, kept in (("training.jsonl", 4), ("trials.journal", 8)):
        path = folder / name
        lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
        path.write_text("".join(lines[:kept]), encoding="utf-8")
    (folder / "result.json").unlink()
    for name in ("winner", "picks"):
        shutil.rmtree(folder / name)
    return searched(folder, "--bits", "w4a4", "--workers", "1")


def fitted(folder: Path) -> dict[str, Any]:
    """A hypernetwork after 20 steps: the mean size of each of its tensors, and the file's hash."""
    qnas("fit-ghn", "--data", "digits", "--steps", "20", "--meta-batch", "2", "--seed", "3", "--out", str(folder))
    tensors = load_file(folder / "ghn.safetensors")
    sizes = {name: float(abs(tensor.astype("float64")).mean()) for name, tensor in sorted(tensors.items())}
    return {"sizes": sizes, "weights": digest_of_tensors(folder / "ghn.safetensors")}


def measured(folder: Path) -> dict[str, Any]:
    """Rows of the shipped digits checkpoint's table."""
    bits = [option for width in ("fp32", "w4a4", "w2a2") for option in ("--bits", width)]
    table = json.loads(qnas("eval-ghn", "--data", "digits", "--networks", "3", "--images", "120", *bits, "--json"))
    return {"rows": table["rows"], "facts": {key: value for key, value in table.items() if key != "rows"}}


def drawn(folder: Path) -> dict[str, Any]:
    """Hashes of what is drawn from every shipped space, which no rounding can change."""
    places = {"tiny": ("id", "deep", "wide", "bn_free"), "mobile": ("id", "deep"), "mobile-small": ("id",)}
    return {
        f"{space} {split}": hashlib.sha256(
            qnas("sample", "--space", space, "--split", split, "--count", "20", "--seed", "3").encode()
        ).hexdigest()
        for space, splits in places.items()
        for split in splits
    }


W4A4 = ("--bits", "w4a4")
PIECES: dict[str, Callable[[Path], dict[str, Any]]] = {
    "search w8a8": lambda folder: searched(folder, "--bits", "w8a8", "--workers", "1"),
    "search w4a8": lambda folder: searched(folder, "--bits", "w4a8", "--workers", "1"),
    "search w4a4": lambda folder: searched(folder, *W4A4, "--workers", "1"),
    "search w2a2": lambda folder: searched(folder, "--bits", "w2a2", "--workers", "1"),
    "search mixed": lambda folder: searched(folder, *W4A4, "--workers", "1", "--mixed", "--pareto", "weight_bytes"),
    "fit-ghn": fitted,
    "eval-ghn": measured,
    "sample": drawn,
}
ALIKE: dict[str, Callable[[Path], dict[str, Any]]] = {
    "resumed": resumed,
    "two workers": lambda folder: searched(folder, *W4A4, "--workers", "2"),
}
"""Other ways to the result of the search at W4A4."""


@pytest.fixture(scope="module")
def pinned() -> dict[str, Any]:
    results: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8"))
    return results


def plain(value: Any) -> Any:
    """As JSON reads it back: lists and text keys."""
    return json.loads(json.dumps(value))


def close(found: Any, wanted: Any) -> bool:
    """Whether numbers are near each other, and all else is equal, but for hashes of files."""
    if isinstance(wanted, dict):
        return found.keys() == wanted.keys() and all(
            key in ("onnx", "weights", "picks", "trust") or close(found[key], wanted[key]) for key in wanted
        )
    if isinstance(wanted, list):
        return len(found) == len(wanted) and all(close(*pair) for pair in zip(found, wanted, strict=True))
    if isinstance(wanted, float) and isinstance(found, float):
        return abs(found - wanted) <= APART + SHARE * abs(wanted)
    return bool(found == wanted) or found is None or wanted is None  # one may be a pick and the other not


def check(found: dict[str, Any], wanted: dict[str, Any], made_on: str) -> None:
    if processor() == made_on:
        assert plain(found) == wanted
    else:
        assert close(plain(found), wanted)


@pytest.mark.parametrize("name", PIECES)
def test_a_command_gives_what_it_gave(name: str, pinned: dict[str, Any], tmp_path: Path) -> None:
    check(PIECES[name](tmp_path / "run"), pinned[name], pinned["processor"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALIKE)
def test_other_ways_lead_to_the_same_search(name: str, pinned: dict[str, Any], tmp_path: Path) -> None:
    check(ALIKE[name](tmp_path / "run"), pinned["search w4a4"], pinned["processor"])


def write() -> None:
    """Write the file anew."""
    with tempfile.TemporaryDirectory() as name:
        found = {piece: PIECES[piece](Path(name) / piece.replace(" ", "-")) for piece in PIECES}
    text = json.dumps({"processor": processor(), **found}, indent=1) + "\n"
    RESULTS.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
