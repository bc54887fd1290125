"""Files of strangers: each ends as one short sentence, soon, in little memory, and leaves nothing behind."""

import gzip
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from qnas.checkpoints.store import WEIGHTS as GHN_WEIGHTS
from qnas.cli.main import main
from qnas.data.cifar10 import NAMES_FILE, TEST_FILE, TRAIN_FILES
from qnas.exporters.manifest import MANIFEST
from qnas.nas.result import RESULT
from qnas.resources import shipped
from qnas.runs.folder import RUN

LONGEST, SECONDS, MEGABYTES = 300, 2.0, 200
"""Letters of the one line, processor time, and memory beyond what the program has already taken."""
SPACE = (shipped("search_spaces") / "tiny.toml").read_text(encoding="utf-8")
NETWORK: dict[str, Any] = {
    "stem": [3, 1], "channels": 8, "cells": 2, "batch_norm": True, "normal": [],
    "reduction": [[[1, "conv", 3], [0, "skip", 1]]], "bits": "w4a4",
}  # fmt: skip
RECIPE = ("train", "resnet8", "--data", "digits", "--recipe", "recipe.toml", "--out", "out")
SEARCH = ("search", "--data", "digits", "--steps", "1", "--trials", "1", "--dry-run", "--workers", "1")
HUGE = "9" * 5_000
Make = Callable[[], tuple[str, ...]]
"""Writes a file into the present folder and says what reads it."""


def written(name: str, content: str | bytes, *command: str) -> Make:
    def make() -> tuple[str, ...]:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode() if isinstance(content, str) else content)
        return command or ("show", name)

    return make


def space(old: str, new: str) -> Make:
    assert old in SPACE, old
    return written("s.toml", SPACE.replace(old, new), "sample", "--space", "s.toml", "--count", "1")


def genotype(**changes: Any) -> Make:
    return written("g.json", json.dumps({**NETWORK, **changes}))


def branch(state: str = "1", operation: str = '"conv"', kernel: str = "3") -> Make:
    text = json.dumps({**NETWORK, "reduction": "HERE"})
    return written("g.json", text.replace('"HERE"', f"[[[{state}, {operation}, {kernel}]]]"))


def fifo(name: str, *command: str) -> Make:
    def make() -> tuple[str, ...]:
        os.mkfifo(name)
        return command

    return make


def manifest(content: Any, *command: str) -> Make:
    return written(f"w/{MANIFEST}", json.dumps(content), *(command or ("show", "w")))


def checkpoint(
    config: dict[str, Any] | None = None,
    change: Callable[[dict[str, torch.Tensor]], object] = len,
    raw: str = "",
    **header: str,
) -> Make:
    """A copy of the shipped checkpoint of the digits with another configuration, other tensors, or another header."""

    def make() -> tuple[str, ...]:
        path = shipped("checkpoints") / "digits" / GHN_WEIGHTS
        with safe_open(path, framework="pt") as file:
            known = file.metadata()
        tensors = load_file(path)
        change(tensors)
        Path("ghn").mkdir()
        told = {**json.loads(known["config"]), **(config or {})}
        save_file(tensors, f"ghn/{GHN_WEIGHTS}", {**known, "config": raw or json.dumps(told), **header})
        return (*SEARCH, "--ghn", "ghn")

    return make


def idx(images: bytes, name: str = "train-images-idx3-ubyte") -> Make:
    def make() -> tuple[str, ...]:
        Path("data").mkdir()
        for part in ("train", "t10k"):
            (Path("data") / f"{part}-images-idx3-ubyte").write_bytes(bytes((0, 0, 8, 3, *[0, 0, 0, 4] * 3)) + bytes(64))
            (Path("data") / f"{part}-labels-idx1-ubyte").write_bytes(bytes((0, 0, 8, 1, 0, 0, 0, 4, 0, 1, 0, 1)))
        (Path("data") / name.removesuffix(".gz")).unlink()
        (Path("data") / name).write_bytes(images)
        return ("data", "data")

    return make


def large(name: str, size: int) -> None:
    """A file with a hole of so many bytes at its end."""
    with Path(name).open("ab") as file:
        file.truncate(size)


def large_checkpoint() -> tuple[str, ...]:
    """A copy of the shipped checkpoint of the digits with one more tensor, of 1.5 GB that the disk does not hold."""
    content = (shipped("checkpoints") / "digits" / GHN_WEIGHTS).read_bytes()
    length = 8 + int.from_bytes(content[:8], "little")
    header, end = json.loads(content[8:length]), len(content) - length
    more = {"dtype": "F32", "shape": [375_000_000], "data_offsets": [end, end + 1_500_000_000]}
    text = json.dumps({**header, "more": more}).encode()
    Path("ghn").mkdir()
    (Path("ghn") / GHN_WEIGHTS).write_bytes(len(text).to_bytes(8, "little") + text + content[length:])
    large(f"ghn/{GHN_WEIGHTS}", 8 + len(text) + end + 1_500_000_000)
    return (*SEARCH, "--ghn", "ghn")


def large_image() -> tuple[str, ...]:
    for name in ("a", "b"):
        (Path("data") / name).mkdir(parents=True)
        for number in range(12):
            (Path("data") / name / f"{number}.png").write_bytes(b"\x89PNG")
    large("data/a/0.png", 20 << 30)
    return ("data", "data")


def large_cifar10() -> tuple[str, ...]:
    Path("data").mkdir()
    for name in (*TRAIN_FILES, TEST_FILE, NAMES_FILE):
        (Path("data") / name).write_bytes(b"")
    large(f"data/{TRAIN_FILES[0]}", 20 << 30)
    return ("data", "data")


def listing(text: str) -> Make:
    return written("data/list.csv", text, "data", "data")


def row(index: int, **fields: Any) -> dict[str, Any]:
    return {"op_code": 4, "worker_id": "w", "study_id": index, **fields}


HOSTILE: dict[str, Make] = {
    "toml: a deep list": space("kernels = ", f"kernels = {'[' * 10**5}{']' * 10**5} #"),
    "toml: a deep key": written("s.toml", ".".join("a" * 10**4) + " = 1", "show", "s.toml"),
    "toml: a very deep key": written("s.toml", ".".join("a" * 10**6) + " = 1", "show", "s.toml"),
    "toml: deep tables": written(
        "s.toml", "".join(f"[{'.'.join('ab' * n)}]\n" for n in range(1, 300)), "show", "s.toml"
    ),
    "toml: 5,000 digits": space("classes = ", f"classes = {HUGE} #"),
    "toml: 4,000 digits": space("classes = ", f"classes = {HUGE[:4000]} #"),
    "toml: hexadecimal digits": space("classes = ", f"classes = 0x{'f' * 50_000} #"),
    "toml: infinity": space("max_params = ", "max_params = inf #"),
    "toml: no number": space("batch_norm = ", "batch_norm = nan #"),
    "toml: a million cells": space("cells = ", "cells = [1000000, 1000000] #"),
    "toml: a million channels": space("channels = ", "channels = [1000000] #"),
    "toml: a kernel of a million": space("\nkernels = ", "\nkernels = [1000001] #"),
    "toml: a stem of a million": space("stem_kernels = ", "stem_kernels = [1000001] #"),
    "toml: a stride of a million": space("stem_strides = ", "stem_strides = [1000000] #"),
    "toml: images of a million": space("image = ", "image = [1, 1000000, 1000000] #"),
    "toml: a million classes": space("classes = ", "classes = 100000000 #"),
    "toml: a hundred thousand choices": space("channels = ", f"channels = {list(range(1, 10**5))} #"),
    "toml: a long name": space("operations = ", f"operations = ['{'x' * 10**5}'] #"),
    "toml: an escape": space("operations = ", 'operations = ["\\u001b[31m"] #'),
    "toml: markup": space("operations = ", 'operations = ["[/bold]"] #'),
    "toml: a long key": written("s.toml", f"{'k' * 60_000} = 1", "show", "s.toml"),
    "toml: not UTF-8": written("s.toml", b"\xff\xfe" * 100, "show", "s.toml"),
    "toml: huge": written("s.toml", b"# " + b"x" * 10**7, "show", "s.toml"),
    "toml: a FIFO": fifo("s.toml", "sample", "--space", "s.toml"),
    "toml: a folder": lambda: (Path("s.toml").mkdir(), ("show", "s.toml"))[1],
    "toml: a recipe of 5,000 digits": written("recipe.toml", f"steps = {HUGE}", *RECIPE),
    "toml: a recipe of 4,000 digits": written("recipe.toml", f"steps = {HUGE[:4000]}", *RECIPE),
    "toml: a recipe of 1e30 steps": written("recipe.toml", f"steps = {10**30}", *RECIPE),
    "toml: a batch of 1e30": written("recipe.toml", f"batch = {10**30}", *RECIPE),
    "toml: a deep recipe": written("recipe.toml", f"steps = {'[' * 10**5}", *RECIPE),
    "toml: a rate that is no number": written("recipe.toml", "rate = nan", *RECIPE),
    "toml: a device of 5,000 digits": written("d.toml", f"flash = {HUGE}", *SEARCH, "--for", "d.toml"),
    "toml: a device of 1e29 bytes": written(
        "d.toml", f"reads = 'x'\ncontainer = 'c'\nflash = {10**29}\ncode = {10**29 + 1}", *SEARCH, "--for", "d.toml"
    ),
    "toml: a deep device": written("d.toml", f"bits = {'[' * 10**4}", *SEARCH, "--for", "d.toml"),
    "toml: a device with an escape": written(
        "d.toml", 'reads = "x"\ncontainer = "\\u001b[31m"', *SEARCH, "--for", "d.toml"
    ),
    "toml: a device with a long container": written(
        "d.toml", f'reads = "x"\ncontainer = "{"c" * 1500}"', *SEARCH, "--for", "d.toml"
    ),
    "toml: a device of long names": written(
        "d.toml", f'reads = "x"\ncontainer = "c"\nbits = ["{"w" * 1500}"]', *SEARCH, "--for", "d.toml"
    ),
    "toml: deep parts": written(
        "parts.toml", f"runs = {'[' * 900}{']' * 900}", "study", "table", "--parts", "parts.toml"
    ),
    "toml: parts of 5,000 digits": written(
        "parts.toml", f"[[runs]]\nbits = ['w4a4']\nnetworks = {HUGE}", "study", "table", "--parts", "parts.toml"
    ),
    "toml: a part that is none": written("parts.toml", "runs = [1]", "study", "table", "--parts", "parts.toml"),
    "toml: parts without bits": written(
        "parts.toml", "[[runs]]\nnetworks = 1", "study", "table", "--parts", "parts.toml"
    ),
    "toml: a start that is a list": written(
        "parts.toml", "[[runs]]\nbits=['w4a4']\nnetworks=1\nstarts=[[]]", "study", "table", "--parts", "parts.toml"
    ),
    "json: a kernel of 1e400": branch(kernel="1e400"),
    "json: a kernel of 10^30": branch(kernel="1000000000000000000000000000001"),
    "json: a kernel of 10^6": branch(kernel="1000001"),
    "json: a state of 0.9": branch(state="0.9"),
    "json: a state of true": branch(state="true"),
    "json: a state in quotes": branch(state='"0"'),
    "json: a state of NaN": branch(state="NaN"),
    "json: an operation of null": branch(operation="null"),
    "json: an operation with an escape": branch(operation='"\\u001b]0;x\\u0007"'),
    "json: an operation with half a letter": branch(operation='"\\ud800"'),
    "json: 10^9 cells": genotype(cells=10**9),
    "json: 10^9 channels": genotype(channels=10**9),
    "json: a stem of 10^6": genotype(stem=[10**6 + 1, 1]),
    "json: a stride of 10^9": genotype(stem=[3, 10**9]),
    "json: 10^6 steps": genotype(reduction=[[[1, "conv", 3]]] * 10**6),
    "json: 10^5 branches": genotype(reduction=[[[1, "conv", 3]] * 10**5]),
    "json: 10^5 widths": genotype(widths=["w4a4"] * 10**5),
    "json: bits that are a number": genotype(bits=4),
    "json: long bits": genotype(bits="w4" * 10**5),
    "json: an unknown key": genotype(depth=3),
    "json: a long unknown key": genotype(**{"k" * 10**5: 3}),
    "json: a key twice": written("g.json", json.dumps(NETWORK)[:-1] + ', "cells": 3}'),
    "json: a deep list": written("g.json", "[" * 10**5 + "]" * 10**5),
    "json: a deep value": written("g.json", json.dumps(NETWORK)[:-1] + f', "x": {"[" * 500}{"]" * 500}}}'),
    "json: 5,000 digits": written("g.json", json.dumps(NETWORK).replace("8", HUGE)),
    "json: 4,000 digits": written("g.json", json.dumps(NETWORK).replace("8", HUGE[:4000])),
    "json: millions of values": written("g.json", b'{"x": [' + b"[]," * 2 * 10**7 + b"1]}"),
    "json: huge": written("g.json", b'"' + b" " * 10**8 + b'"'),
    "json: a FIFO": fifo("g.json", "train", "g.json", "--data", "digits"),
    "json: a hand-made network of 10^9 channels": written(
        "g.json", '{"network": "resnet8", "width": 1000000000, "bits": "w4a4"}', "train", "g.json", "--data", "digits"
    ),
    "result: no table": written(f"run/{RESULT}", '{"picks": [1]}', "show", "run"),
    "result: null": written(f"run/{RESULT}", "null", "show", "run"),
    "result: a pick of nothing": written(
        f"run/{RESULT}", '{"screened": 1, "pareto": [], "calibration": null, "picks": [{}], "candidates": []}',
        "show", "run",
    ),
    "result: a run without settings": written(f"run/{RUN}", '{"settings": 3}', "show", "run"),
    "result: deep settings": written(
        f"run/{RUN}", json.dumps({"settings": {"a": 1}}).replace("1", f"{'[' * 900}{']' * 900}"), "show", "run"
    ),
    "manifest: facts of 3": manifest({"facts": 3}),
    "manifest: facts of 3 and hashes": manifest({"facts": 3, "sha256": {}}),
    "manifest: a file outside": manifest({"facts": {}, "sha256": {"../../etc/passwd": "0"}}),
    "manifest: a file of another folder": manifest({"facts": {}, "sha256": {"/etc/passwd": "0"}}),
    "manifest: a device": lambda: (
        manifest({"facts": {}, "sha256": {"x": "0"}})(), Path("w/x").symlink_to("/dev/zero"), ("show", "w")
    )[-1],
    "manifest: a link out": lambda: (
        manifest({"facts": {}, "sha256": {"x": "0"}})(), Path("w/x").symlink_to("/etc/passwd"), ("show", "w")
    )[-1],
    "manifest: null": manifest(None, "train", "w", "--data", "digits"),
    "checkpoint: 10^6 rounds": checkpoint({"rounds": 10**6}),
    "checkpoint: 4e6 hidden": checkpoint({"hidden": 4_000_000}),
    "checkpoint: 4e6 hidden, not whole": checkpoint({"hidden": 4e6}),
    "checkpoint: a decoder of 10^6": checkpoint({"decoder": [10**6, 10**6]}),
    "checkpoint: a decoder of text": checkpoint({"decoder": "ab"}),
    "checkpoint: 10^6 channels": checkpoint({"channels": 10**6}),
    "checkpoint: 10^9 classes": checkpoint({"classes": 10**9}),
    "checkpoint: true rounds": checkpoint({"rounds": True}),
    "checkpoint: an unknown key": checkpoint({"depth": 1}),
    "checkpoint: no numbers": checkpoint(change=lambda tensors: next(iter(tensors.values())).fill_(float("nan"))),
    "checkpoint: wrong shapes": checkpoint(
        change=lambda tensors: tensors.update({name: torch.zeros(3, 5, 7) for name in tensors})
    ),
    "checkpoint: no tensors": checkpoint(change=dict.clear),
    "checkpoint: a deep configuration": checkpoint(raw="[" * 10**5),
    "checkpoint: a configuration of null": checkpoint(raw="null"),
    "checkpoint: a task of a million classes": checkpoint(task='{"image": [1, 8, 8], "classes": 1000000000}'),
    "checkpoint: a task of text": checkpoint(task='{"image": "abc", "classes": "x"}'),
    "checkpoint: a long header": written(
        f"ghn/{GHN_WEIGHTS}", (10**8).to_bytes(8, "little") + b"{" + b" " * (10**8 - 1), *SEARCH, "--ghn", "ghn"
    ),
    "checkpoint: a tensor of 1.5 GB": large_checkpoint,
    "checkpoint: cut off": written(f"ghn/{GHN_WEIGHTS}", b"\x08", *SEARCH, "--ghn", "ghn"),
    "idx: sizes of 4 GiB": idx(bytes((0, 0, 8, 3, *[0xFF] * 12))),
    "idx: a bomb": idx(
        gzip.compress(bytes((0, 0, 8, 3, 0, 1, 0, 0, 0, 0, 0x10, 0, 0, 0, 0x10, 0)) + bytes(10**8), 1),
        "train-images-idx3-ubyte.gz",
    ),
    "image: a file of 20 GB": large_image,
    "cifar-10: a file of 20 GB": large_cifar10,
    "a name of 5,000 letters": lambda: ("data", "x" * 5000),
    "idx: cut off": idx(b"\x00\x00\x08"),
    "idx: cut off in the archive": idx(gzip.compress(bytes(100))[:20], "train-images-idx3-ubyte.gz"),
    "csv: a file outside": listing("file,label\n../../etc/passwd,a\n/etc/passwd,b\n"),
    "csv: a NUL": listing("file,label\nx\0y,a\nb,c\n"),
    "csv: a long field": listing("file,label\n" + "x" * 10**6 + ",a\nb,c\n"),
    "csv: wide and long": listing("file,label" + ",x" * 10**4 + "\n" + "a\n" * 10**5),
    "csv: many missing files": listing("file,label\n" + "".join(f"{n},{n % 2}\n" for n in range(10**5))),
    "csv: escapes": listing("file,label\n\x1b[31m,a\nb,\x1b[31m\n"),
}  # fmt: skip
"""What strangers may send, by its kind and what is wrong with it."""


def run(arguments: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> object:
    """The exit code of the program."""
    monkeypatch.setattr(sys, "argv", ["qnas", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    return ended.value.code


def peak() -> float:
    """Megabytes that the process has held at most since ``forget_peak``."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def forget_peak() -> float:
    """Begin to watch anew; the megabytes of now."""
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return peak()


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_file_ends_as_one_short_sentence(
    case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = HOSTILE[case]()
    before = sorted(tmp_path.rglob("*"))
    began, held = time.process_time(), forget_peak()
    code = run(arguments, monkeypatch)
    spent, grown = time.process_time() - began, peak() - held
    printed = capsys.readouterr()
    assert (code, printed.out) == (2, ""), printed
    assert printed.err.startswith("qnas: ")
    assert printed.err.count("\n") == 1
    assert len(printed.err) < LONGEST, printed.err[:2_000]
    assert printed.err.removesuffix("\n").isprintable()
    assert sorted(tmp_path.rglob("*")) == before
    assert spent < SECONDS, spent
    assert grown < MEGABYTES, grown


@pytest.mark.parametrize("name", ["g.json", "s.toml"])
def test_a_byte_order_mark_is_no_damage(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = json.dumps(NETWORK) if name == "g.json" else SPACE
    Path(name).write_text(text, encoding="utf-8-sig")
    assert run(("show", name), monkeypatch) == 0
    assert "conv" in capsys.readouterr().out


@pytest.mark.parametrize("seed", ["-1", str(2**32), "9" * 40])
@pytest.mark.parametrize("command", [("sample",), SEARCH, ("train", "resnet8"), ("eval-proxy",), ("study", "table")])
def test_a_seed_that_is_none_is_refused(
    command: tuple[str, ...], seed: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run((*command, "--seed", seed), monkeypatch) == 2
    assert capsys.readouterr().err.startswith("qnas: --seed is 0 to 4294967295, got ")


def test_names_with_markup_and_escapes_are_shown_as_they_stand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    written(f"runs/[bold]\x1b[31m/{RUN}", '{"settings": {"[/bold]": "[/red] :smile:"}}')()
    assert run(("show", "runs/[bold]\x1b[31m"), monkeypatch) == 0
    printed = capsys.readouterr().out
    assert "[/bold]" in printed
    assert "[/red] :smile:" in printed
    assert run(("show",), monkeypatch) == 0
    assert "[bold]\\x1b[31m" in capsys.readouterr().out
