"""Two processes that train one hypernetwork follow the curve of one."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from qnas.distributed import Ranks, joined_ranks, local_device

FIT = ["-m", "qnas", "fit-ghn", "--data", "digits", "--steps", "100", "--float-share", "0.5"]
FIT += ["--meta-batch", "4", "--batch", "16"]
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def curve(command: list[str], out: Path) -> list[dict[str, Any]]:
    """The metrics of a run."""
    result = subprocess.run([sys.executable, *command, "--out", str(out)], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-2000:]
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def test_a_process_on_its_own_is_one_of_one() -> None:
    with joined_ranks() as ranks:
        assert ranks == Ranks(0, 1)
        assert ranks.is_first
        assert ranks.sum(torch.ones(3)).tolist() == [1, 1, 1]
    assert local_device("cpu") == torch.device("cpu")


@pytest.mark.slow
def test_two_ranks_follow_the_loss_of_one(tmp_path: Path) -> None:
    one, two = curve(FIT, tmp_path / "one"), curve([*TORCHRUN, *FIT], tmp_path / "two")
    assert [row["step"] for row in one] == [row["step"] for row in two] == [50, 100]
    assert one[0]["loss"] == pytest.approx(two[0]["loss"], rel=1e-4)
    for mine, theirs in zip(one, two, strict=True):
        assert (mine["phase"], mine["rate"]) == (theirs["phase"], theirs["rate"])
        assert mine["loss"] == pytest.approx(theirs["loss"], rel=0.02)
    cards = [json.loads((tmp_path / name / "card.json").read_text(encoding="utf-8")) for name in ("one", "two")]
    assert [card["processes"] for card in cards] == [1, 2]
    passes = [card["counters"]["image_passes"] for card in cards]
    assert passes == [100 * 4 * 16] * 2


@pytest.mark.slow
def test_networks_that_cannot_be_dealt_out_are_refused(tmp_path: Path) -> None:
    command = [sys.executable, *TORCHRUN, *FIT, "--meta-batch", "3", "--out", str(tmp_path / "run")]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "--meta-batch is a multiple of the processes, got 3 networks and 2 processes" in result.stderr
    assert not (tmp_path / "run" / "metrics.jsonl").exists()
