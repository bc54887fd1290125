"""Damaged files and wrong arguments, made at random: one sentence or a result, soon, and no file left behind.

The ordinary tests try a few of each, ``just fuzz`` as many as ``QNAS_FUZZ`` says.
"""

import io
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qnas.checkpoints.store import CARD, WEIGHTS, load_checkpoint
from qnas.cli.main import main
from qnas.data.idx import read_idx
from qnas.data.listing import list_images
from qnas.errors import QnasError
from qnas.exporters.device_profiles import find_device
from qnas.exporters.manifest import MANIFEST
from qnas.nas.deadline import FINISH, lengthened
from qnas.nas.result import RESULT, read_result
from qnas.nas.rungs import Rung
from qnas.nas.settings import BEGUN
from qnas.network.build import architecture_from_json, build_plan
from qnas.quant.scheme import Bits
from qnas.reports.overview import show_anything
from qnas.reports.search import picks_table
from qnas.resources import shipped
from qnas.runs.folder import RUN, read_run
from qnas.runs.reading import read_json
from qnas.space.space import read_space
from qnas.studies.settings import read_parts
from qnas.task import Task
from qnas.training.recipe import Recipe, read_recipe
from qnas.work.journal import JournalFile
from qnas.work.ledger import Ledger

FEW, MANY = 10, int(os.environ.get("QNAS_FUZZ", "10000"))
"""Cases of each kind in the ordinary tests, and of all kinds in the slow ones."""
SECONDS = 2.0
TOKENS = [
    b"1e400", b"NaN", b"-1", b"0.9", b"null", b"true", b"{}", b"[]", b"[[[[[[", b"9" * 50, b'"\\ud800"', b"\x00",
    b"\x1b[31m", b"[/bold]", b"\n", b'"', b",", b"=", b"\xff", b"\xef\xbb\xbf", b"../", b"1000000000", b"inf", b"'",
]  # fmt: skip
NETWORK = {
    "stem": [3, 1], "channels": 8, "cells": 2, "batch_norm": True, "normal": [],
    "reduction": [[[1, "conv", 3], [0, "skip", 1]]], "bits": "w4a4",
}  # fmt: skip
PICK = {
    "key": "a-w4a4", "score": 9.5, "estimate": None, "trained": {"12": 9.0}, "test": 9.0, "params": 1, "macs": 1,
    "weight_bytes": 1, "activation_bytes": 1, "latency": 0.0, "genotype": NETWORK, "front": True,
}  # fmt: skip
RUNG = Rung("finish", 1)
RESULTS = {"screened": 1, "pareto": ["params"], "calibration": None, "picks": [PICK], "candidates": [PICK]}
TOLD = {
    "facts": {"settings": {"bits": "w4a4"}, "accuracy": {"test": 9.0}}, "costs": {"params": 1},
    "parity": {
        "images": 1, "onnxruntime_top1": 1.0, "torch_top1": 1.0, "same_class": 1.0, "largest_logit_difference": 0.1,
        "mean_logit_difference": 0.1, "onnxruntime_version": "1",
    },
    "images": {"data": "a", "shape": [1, 8, 8], "classes": ["a", "b"], "mean": [1.0], "deviation": [1.0]},
    "onnx_bytes": 1, "sha256": {}, "versions": {"qnas": "0"},
}  # fmt: skip
GHN = shipped("checkpoints") / "digits"
ALL = (GHN / WEIGHTS).read_bytes()
HEAD, TAIL = ALL[: 8 + int.from_bytes(ALL[:8], "little")], ALL[8 + int.from_bytes(ALL[:8], "little") :]
ROW = {"split": "id", "bits": "w4a4", "n": 9, "top1_mean": 9.0, "top1_sem": 0.1}
NOTED = {"table": {"data": "a", "part": "test", "rows": [ROW]}, "history": [{}], "hardware": "a processor"}
ROWS = b"".join(json.dumps({"job": name, "top1": 9.0}).encode() + b"\n" for name in "abc")


def at(name: str, read: Callable[[Path], object], tail: bytes = b"") -> Callable[[bytes], object]:
    """A parser of a file of this name, as one of its content, which leaves no file beside it."""

    def parse(content: bytes) -> object:
        with TemporaryDirectory() as place:
            path = Path(place) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content + tail)
            if name.endswith(CARD):
                (path.parent / WEIGHTS).touch()
            there = sorted(Path(place).rglob("*"))
            try:
                return read(path)
            finally:
                assert sorted(Path(place).rglob("*")) == there

    return parse


def listed(path: Path) -> object:
    return list_images(path.parent)


def built(path: Path) -> object:
    return build_plan(architecture_from_json(read_json(path, "a network", "make it anew")), Task((1, 8, 8), 10))


PARSERS: dict[str, tuple[bytes, Callable[[bytes], object]]] = {
    "genotype": (json.dumps(NETWORK).encode(), at("g.json", lambda path: show_anything(str(path)))),
    "hand-made": (b'{"network": "resnet8", "width": 4, "bits": "w4a4"}', at("g.json", built)),
    "space": ((shipped("search_spaces") / "tiny.toml").read_bytes(), at("s.toml", read_space)),
    "recipe": (Recipe().to_toml().encode(), at("r.toml", read_recipe)),
    "device": (
        (shipped("device_profiles") / "cortex-m4.toml").read_bytes(),
        at("d.toml", lambda path: find_device(str(path))),
    ),
    "parts": (b'[[runs]]\nbits = ["w4a4"]\nnetworks = 3\nepochs = 1.5\nstarts = ["random"]', at("p.toml", read_parts)),
    "bits": (b"w4a4", lambda text: Bits.parse(text.decode(errors="replace"))),
    "idx": (bytes((0, 0, 8, 3, *[0, 0, 0, 2] * 3)) + bytes(8), lambda content: read_idx(content, 3, "it")),
    "table of images": (b"file,label,split\na.png,a,train\nb.png,b,test\n", at("data/list.csv", listed)),
    "manifest": (json.dumps(TOLD).encode(), at(f"w/{MANIFEST}", lambda path: show_anything(str(path.parent)))),
    "result": (json.dumps(RESULTS).encode(), at(RESULT, lambda path: picks_table(read_result(path.parent)))),
    "card": (json.dumps(NOTED).encode(), at(f"c/{CARD}", lambda path: show_anything(str(path.parent)))),
    "finish": (b'{"steps": 300}', at(FINISH, lambda path: lengthened(path.parent, None, {}, RUNG, RUNG, []))),
    "settings": (b'{"settings": {"data": "digits", "steps": 3}}', at(RUN, lambda path: read_run(path.parent, BEGUN))),
    "checkpoint": (HEAD, at(f"c/{WEIGHTS}", lambda path: load_checkpoint(str(path.parent)), TAIL)),
    "ledger": (ROWS, at("ledger", Ledger)),
    "journal": (ROWS, at("journal", lambda path: list(JournalFile(path).read_logs(0)))),
}  # fmt: skip
CASES = max(1, MANY // (len(PARSERS) + 1))


@st.composite
def damaged(draw: st.DrawFn, content: bytes) -> bytes:
    """A content with pieces cut out, and others put in."""
    for _ in range(draw(st.integers(1, 3))):
        place, cut = draw(st.integers(0, len(content))), draw(st.integers(0, 12))
        content = content[:place] + draw(st.sampled_from(TOKENS) | st.binary(max_size=4)) + content[place + cut :]
    return content


def check(parse: Callable[[bytes], object], content: bytes) -> None:
    began = time.process_time()
    with suppress(QnasError), redirect_stdout(io.StringIO()) as printed:
        parse(content)
    assert "\x1b" not in printed.getvalue()
    assert time.process_time() - began < SECONDS


def fuzz(test: Callable[[bytes], None], content: bytes, cases: int) -> None:
    how = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    how(given(damaged(content))(test))()


@pytest.mark.parametrize("name", PARSERS)
def test_what_is_whole_is_read(name: str) -> None:
    content, parse = PARSERS[name]
    if name != "table of images":  # whose images are not there
        parse(content)


@pytest.mark.parametrize("cases", [FEW, pytest.param(CASES, marks=pytest.mark.slow)], ids=["few", "many"])
@pytest.mark.parametrize("name", PARSERS)
def test_damage_ends_as_one_sentence(name: str, cases: int) -> None:
    content, parse = PARSERS[name]
    fuzz(lambda damaged: check(parse, damaged), content, cases)


NUMBERS = [
    "-1",
    "0",
    "1",
    "3",
    "nan",
    "inf",
    "1e400",
    "-0",
    "4294967296",
    "9" * 40,
    "0x10",
    "1.5",
    "",
    "\u0664",
    "w4a4",
]
OPTIONS = {
    "sample": ("--space=tiny", "--seed", "--bits", "--split", "--part", "--count=2"),
    "search": ("--data=digits", "--dry-run", "--seed=-1", "--max-params", "--max-latency", "--minutes", "--trials"),
    "train": ("resnet8", "--seed=-1", "--width", "--edges", "--steps", "--epochs", "--minutes"),
    "eval-ghn": ("--networks=0", "--images", "--seed", "--part"),
    "show": ("",),
}


@st.composite
def typed(draw: st.DrawFn) -> list[str]:
    """A command line whose numbers are odd, and which is never right where its work is long."""
    command = draw(st.sampled_from(sorted(OPTIONS)))
    words = st.sampled_from(NUMBERS) | st.text(st.characters(exclude_characters="\0"), max_size=8)
    fixed = [option for option in OPTIONS[command] if "=" in option or option in ("--dry-run", "resnet8")]
    drawn = [f"{option}={draw(words)}" if option else draw(words) for option in OPTIONS[command] if option not in fixed]
    return [command, *fixed, *drawn]


@pytest.mark.parametrize("cases", [FEW, pytest.param(CASES, marks=pytest.mark.slow)], ids=["few", "many"])
def test_wrong_arguments_end_with_an_exit_code(cases: int) -> None:
    def run(arguments: list[str]) -> None:
        with TemporaryDirectory() as place, mock.patch.object(sys, "argv", ["qnas", *arguments]):
            before = Path.cwd()
            os.chdir(place)
            try:
                with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()), pytest.raises(SystemExit) as ended:
                    main()
                assert ended.value.code in (0, 2)
                assert not list(Path(place).iterdir())
            finally:
                os.chdir(before)

    how = settings(max_examples=cases, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    how(given(typed())(run))()
