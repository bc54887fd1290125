"""The benchmarks run without a checkout to compare with, and end with one line of JSON."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import qnas
from qnas.exporters.emulated import can_emulate
from qnas.exporters.registry import PROFILES
from qnas.resources import shipped

FOLDER = Path(__file__).parent.parent / "benchmarks"
CHECKPOINTS = {name: shipped("checkpoints") / name for name in ("digits", "fashion")}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "keys"),
    [
        ("predict.py --networks 2", {"graph", "predict", "predict_batch", "n", "threads"}),
        ("score.py --networks 2 --repeats 1 --images 64", {"score", "n", "threads"}),
        ("fit.py --steps 1 --space tiny --meta-batch 2", {"step", "n", "threads"}),
        ("sample.py --count 50 --repeats 1", {"rates"}),
        ("race.py --networks 3 --bits w4a4", {"rows", "images"}),
        ("overhead.py --trials 30", {"overhead_milliseconds", "score_milliseconds", "proposals"}),
        ("screen.py --trials 8", {"seconds", "networks"}),
        ("latency.py --networks 2 --bits w4a4", {"rows"}),
        ("deploy.py --network ds_cnn --width 8 --images 4 --repeats 1 --bits w4a4", {"rows", "n"}),
        pytest.param(
            "instructions.py --networks 1 --bits w4a4 --out {out}/rows.jsonl",
            {"fitted_to", "networks"},
            marks=pytest.mark.skipif(not can_emulate(), reason="needs a compiler and QEMU"),
        ),
        ("search.py --table {digits}/truth.jsonl.gz --seeds 3", {"ways", "qnas_work"}),
        ("search.py --table {fashion}/truth.jsonl.gz --start random --seeds 2", {"ways", "qnas_work"}),
        ("search.py --real --seconds 0.1 --seeds 1 --steps 6 --trials 6 --out {out}", {"ways", "qnas_work"}),
        (
            "starts.py --data digits --space tiny --networks 2 --seeds 1 --bits w4a4 --epochs 0.25 1 "
            "--budget params=20000 --out {out}/rows.jsonl",
            {"results", "hypernetwork_seconds"},
        ),
        (
            "opponents.py --data digits --seconds 1 --times 1 --seeds 1 --budgets weight_bytes=8192 "
            "--ways qnas mixed halving random --out {out}/rows.jsonl",
            {"results", "seconds"},
        ),
        ("winner.py --seeds 1 --random 2 --trials 12 --steps 12 --workers 1", {"wins", "rows"}),
        (
            "space_gate.py --data digits --space tiny --networks 2 --seconds 0.05 --out {out}",
            {"span", "tau", "p5", "p95"},
        ),
        (
            "ingredients.py --data digits --space tiny --seeds 1 --bits w4a4 --epochs 0.2 --out {out} "
            "--variants usual reestimated",
            {"results"},
        ),
        (
            "time_matched.py --data digits --space tiny --minutes 0.1 --budgets params=9000 "
            "--ways hand_made "
            "--out {out}/rows.jsonl",
            {"results"},
        ),
        ("train.py --networks 1 --repeats 1 --data digits --space tiny", {"ratio", "images_per_second"}),
        (
            "learning_curves.py --data digits --space tiny --networks 12 --shortest 0.02 --longest 0.05 "
            "--out {out}/rows.jsonl --table {out}/curves.jsonl.gz",
            {"tau", "mean_absolute_error"},
        ),
        (
            "distributions.py --data digits --space tiny --ghn digits --networks 2 --trained 1 --steps 2 "
            "--out {out}/rows.jsonl",
            {"results", "trained"},
        ),
        ("study.py --data digits --width 4 --blocks dws_conv_no_bn --updates 1 --repeats 1", {"ratio", "rows", "n"}),
        ("crowd.py --seconds 2 --processes 2", {"tasks", "lost", "twice", "wrong"}),
        ("ablation.py --steps 2 --networks 1 --seeds 1 --out {out}", {"rows", "n"}),
        (
            "prices.py --data digits --space tiny --networks 3 --by-hand resnet8/4 --out {out}/rows.jsonl",
            {"prices", "median_error", "median_error_before"},
        ),
        ("plans.py --networks 40 --draws 3", {"plans", "promising"}),
    ],
    ids=[
        "predict",
        "score",
        "fit",
        "sample",
        "race",
        "overhead",
        "screen",
        "latency",
        "deploy",
        "instructions",
        "search",
        "search of runs that end early",
        "real search",
        "starts",
        "opponents",
        "winner",
        "space gate",
        "ingredients",
        "time matched",
        "train",
        "learning curves",
        "distributions",
        "study",
        "crowd",
        "ablation",
        "prices",
        "plans",
    ],
)
def test_a_benchmark_ends_with_json(command: str, keys: set[str], tmp_path: Path) -> None:
    script, *options = command.format(**CHECKPOINTS, out=tmp_path / "out").split()
    result = subprocess.run(
        [sys.executable, str(FOLDER / script), *options], capture_output=True, text=True, check=True
    )
    found = json.loads(result.stdout.splitlines()[-1])
    assert keys | {"machine"} <= found.keys()


@pytest.mark.slow
def test_every_container_gives_the_classes_of_torch_or_says_why_not(tmp_path: Path) -> None:
    names = {bits: tmp_path / bits for bits in ("w8a8", "w4a4")}
    for bits, folder in names.items():
        qnas.train("resnet8", bits, width=4, data="digits", steps=96, out=folder)
    command = [sys.executable, FOLDER / "containers.py", "--winners", *names.values(), "--images", "200"]
    command += ["--emulate", "1"]
    result = subprocess.run(command, capture_output=True, text=True, check=True)
    rows = json.loads(result.stdout.splitlines()[-1])["rows"]
    assert [row["profile"] for row in rows] == [*PROFILES, "emulated"] * 2
    for row in rows:
        if row["profile"] == "emulated":
            assert row["same_logits"] == 1 if can_emulate() else "arm-none-eabi-gcc" in row["refused"]
        elif row["profile"] == "tflite" and row["network"].endswith("w4a4"):
            assert "activations of 8 bits" in row["refused"]
        else:
            assert row["images"] == 200
            assert row["same_class"] >= 98


def test_a_reference_that_is_no_checkout_is_refused(tmp_path: Path) -> None:
    command = [sys.executable, str(FOLDER / "fit.py"), "--reference", str(tmp_path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode != 0
    assert "--reference is a checkout of facebookresearch/ppuda" in result.stderr
