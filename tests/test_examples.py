"""The scripts in examples/ run as their first lines say."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def run(script: str, *arguments: str) -> str:
    command = [sys.executable, str(ROOT / "examples" / script), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_predict_parameters_scores_every_setting_of_the_paper() -> None:
    lines = run("predict_parameters.py").splitlines()
    assert [line.split(":")[0].strip() for line in lines] == ["fp32", "w8a8", "w4a8", "w4a4", "w2a2"]


@pytest.mark.export
def test_train_and_export_writes_a_model_that_agrees(tmp_path: Path) -> None:
    printed = run("train_and_export.py", str(tmp_path / "out"))
    in_torch, in_onnxruntime = (float(part.split(" %")[0].split()[-1]) for part in printed.split("right in torch,"))
    assert abs(in_torch - in_onnxruntime) <= 0.5
    assert (tmp_path / "out" / "model.onnx").is_file()
