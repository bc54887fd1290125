"""A training run's folder: what is in it at the end, and what it says of the runs before."""

import json
from pathlib import Path

import pytest
import torch

from qnas.checkpoints.store import load_checkpoint, read_card
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.space.space import find_space
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_run import fit, lineage, open_fit
from qnas.training.fit_settings import FitSettings
from qnas.training.metrics import STEPS_PER_LINE

SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8))


def trainer(data: DataSet, steps: int, seed: int = 0) -> GHNTrainer:
    torch.manual_seed(seed)
    settings = FitSettings(steps, meta_batch=1, batch=4, splits="id=1", seed=seed)
    return GHNTrainer(GHN(SMALL), data, find_space("tiny"), settings)


def run(data: DataSet, folder: Path, start: str = "", steps: int = 2) -> None:
    made = trainer(data, steps)
    open_fit(made, folder, resume=False)
    fit(made, folder, start, lambda share, remark: None)


def test_a_finished_run_is_a_checkpoint_with_its_average(digits_data: DataSet, tmp_path: Path) -> None:
    made, told = trainer(digits_data, STEPS_PER_LINE), []
    open_fit(made, tmp_path / "run", resume=False)
    fit(made, tmp_path / "run", "", lambda share, remark: told.append((share, remark)))
    loaded = load_checkpoint(str(tmp_path / "run"))
    assert (loaded.data, loaded.space) == ("digits", "tiny")
    assert all(torch.equal(value, made.averaged[name]) for name, value in loaded.ghn.state_dict().items())
    (line,) = (tmp_path / "run" / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    assert told[-1][0] == 1
    assert f"loss {json.loads(line)['loss']:.2f}" in told[-1][1]


def test_a_card_names_the_runs_before(digits_data: DataSet, tmp_path: Path) -> None:
    run(digits_data, tmp_path / "first")
    run(digits_data, tmp_path / "second", str(tmp_path / "first"), steps=3)
    assert lineage("") == []
    history = lineage(str(tmp_path / "second"))
    assert [entry["counters"]["step"] for entry in history] == [2, 3]
    card = read_card(tmp_path / "second")
    assert (card["start"], card["history"]) == ("first", history[:1])
    assert set(card["versions"]) == {"qnas", "torch", "torch-geometric", "python"}


def test_a_folder_that_holds_a_run_is_only_continued(digits_data: DataSet, tmp_path: Path) -> None:
    run(digits_data, tmp_path)
    with pytest.raises(QnasError, match="already holds a run; continue it with `resume`, or name another `out`"):
        open_fit(trainer(digits_data, 2), tmp_path, resume=False)
    open_fit(trainer(digits_data, 2), tmp_path, resume=True)
