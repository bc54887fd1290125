"""A finished search in Optuna's dashboard: what it shows, asked over HTTP as a browser does."""

import json
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

import optuna
import pytest

from qnas.errors import QnasError
from qnas.reports.dashboard import genes_of, serve, study_of
from qnas.space.genotype import Genotype


def network(genotype: Genotype, number: int, score: float, **more: Any) -> dict[str, Any]:
    costs = {"params": 10 * number, "macs": 5, "weight_bytes": 3, "activation_bytes": 2, "latency": 0.0}
    facts = {"number": number, "key": genotype.key, "score": score, "estimate": None, "trained": {}, "test": None}
    return {**facts, **costs, "genotype": genotype.to_json(), **more}


@pytest.fixture
def run(genotype: Genotype, tmp_path: Path) -> Path:
    folder = tmp_path / "a search"
    folder.mkdir()
    pick = network(genotype, 2, 70.0, trained={"12": 80.0}, test=79.0, front=True)
    result = {"screened": 2, "pareto": ["params"], "calibration": None, "picks": [pick]}
    result["candidates"] = [network(genotype.with_bits(genotype.bits), 1, 60.0)]
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    (folder / "run.json").write_text(json.dumps({"settings": {"bits": "w4a4"}}), encoding="utf-8")
    return folder


def test_every_network_is_a_trial_in_the_order_of_scoring(run: Path, genotype: Genotype) -> None:
    study = optuna.load_study(study_name="a search", storage=study_of(run))
    assert study.metric_names == ["score", "params"]
    assert [trial.values for trial in study.trials] == [[60.0, 10.0], [70.0, 20.0]]
    assert study.trials[1].params == {name: str(value) for name, value in genes_of(genotype).items()}
    assert study.trials[1].user_attrs == {
        "network": genotype.key, "score": 70.0, "trained 12 steps": 80.0, "test": 79.0, "params": 20, "macs": 5,
        "weight_bytes": 3, "activation_bytes": 2,
    }  # fmt: skip
    assert study.trials[0].user_attrs["params"] == 10


def test_the_dashboard_tells_them(run: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "qnas", "dashboard", str(run), "--port", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as program:
        try:
            told = _asked(f"http://127.0.0.1:{port}/api/studies", program)
            assert [study["study_name"] for study in told["study_summaries"]] == ["a search"]
            one = _asked(f"http://127.0.0.1:{port}/api/studies/0", program)
            assert [trial["values"] for trial in one["trials"]] == [[60.0, 10.0], [70.0, 20.0]]
        finally:
            program.terminate()


def _asked(address: str, program: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What an address says, once it is there."""
    for _ in range(600):
        try:
            with urllib.request.urlopen(address, timeout=5) as answer:
                told: dict[str, Any] = json.load(answer)
                return told
        except OSError:
            assert program.poll() is None
            time.sleep(0.1)
    raise AssertionError(f"nothing answers at {address}")


def test_what_cannot_be_served_is_one_sentence(run: Path, tmp_path: Path) -> None:
    with pytest.raises(QnasError, match="`port=0`; leave it out"):
        serve(run, "127.0.0.1", 0)
    with pytest.raises(QnasError, match="finish the run"):
        serve(tmp_path, "127.0.0.1", 8080)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(QnasError, match=r"cannot be had .*give another `port` or `host`"):
            serve(run, "127.0.0.1", taken.getsockname()[1])
