"""Two processes that train one hypernetwork follow the curve of one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from qnas.distributed import Ranks, joined_ranks, local_device

FIT = ["-m", "qnas", "fit-ghn", "--data", "digits", "--float-share", "0.5", "--meta-batch", "2", "--batch", "16"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
BOTH: dict[str, tuple[str, ...]] = {"one": (), "two": tuple(TORCHRUN)}


def fitted(steps: int, out: Path, start: tuple[str, ...] = ()) -> Path:
    """The folder of a run."""
    command = [sys.executable, *start, *FIT, "--steps", str(steps), "--out", str(out)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return out


def curve(folder: Path) -> list[dict[str, Any]]:
    """The metrics of a run."""
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_process_on_its_own_is_one_of_one() -> None:
    with joined_ranks() as ranks:
        assert ranks == Ranks(0, 1)
        assert ranks.is_first
        assert ranks.sum(torch.ones(3)).tolist() == [1, 1, 1]
    assert local_device("cpu") == torch.device("cpu")


@pytest.mark.slow
def test_two_ranks_take_the_step_of_one(tmp_path: Path) -> None:
    """After one step Adam's first moment is a tenth of the gradient, and Muon's a twentieth, but for rounding."""
    one, two = (load_file(fitted(1, tmp_path / name, start) / "state.safetensors") for name, start in BOTH.items())
    assert one.keys() == two.keys()
    moments = [name for name in one if name.startswith(("adam/exp_avg/", "adam/momentum/"))]
    assert {f"model/{name.split('/', 2)[2]}" for name in moments} == {name for name in one if name.startswith("model/")}
    assert any(one[name].norm() > 1e-4 for name in moments)
    for name in moments:
        assert (two[name] - one[name]).norm() <= 1e-4 * one[name].norm() + 1e-9


@pytest.mark.slow
def test_two_ranks_follow_the_loss_of_one(tmp_path: Path) -> None:
    """As closely as the optimizers let them, which take tiny gradients, and their rounding, at the size of others."""
    one, two = (curve(fitted(50, tmp_path / name, start)) for name, start in BOTH.items())
    assert [row["step"] for row in one] == [row["step"] for row in two] == [50]
    for mine, theirs in zip(one, two, strict=True):
        assert (mine["phase"], mine["rate"]) == (theirs["phase"], theirs["rate"])
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.02)
    cards = [json.loads((tmp_path / name / "card.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert [card["processes"] for card in cards] == [1, 2]
    passes = [card["counters"]["image_passes"] for card in cards]
    assert passes == [50 * 2 * 16] * 2


@pytest.mark.slow
def test_two_ranks_measure_what_one_does_and_one_of_them_talks(tmp_path: Path) -> None:
    """Eleven networks are two batches, one for each."""
    tables = {}
    for name, start in BOTH.items():
        command = [sys.executable, *start, "-m", "qnas", "eval-ghn", "--networks", "11", "--images", "100", "--json"]
        command += ["--split", "id", "--bits", "w4a4", "--bits", "fp32", "--scores", str(tmp_path / name)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        tables[name] = json.loads(result.stdout), (tmp_path / name).read_text(encoding="utf-8")
    assert tables["one"] == tables["two"]
    assert tables["one"][1].count("\n") == 22


@pytest.mark.slow
def test_networks_that_cannot_be_dealt_out_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, *TORCHRUN, *FIT, "--steps", "100", "--meta-batch", "3", "--out", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "--meta-batch is a multiple of the processes, got 3 networks and 2 processes" in result.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
