"""Checkpoints come back as they were written, and a damaged one is named, never a traceback."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from qnas.checkpoints.store import (
    OTHER,
    checkpoint_names,
    default_checkpoint,
    find_checkpoint,
    load_checkpoint,
    read_card,
    save_card,
    save_checkpoint,
)
from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.plan import Plan
from qnas.resources import shipped
from qnas.task import Task

CONFIG = GHNConfig(classes=10, hidden=8, channels=4, kernel=7, decoder=(4, 6), sweep="synchronous", rounds=2)
TASK = Task((1, 8, 8), 10, "digits", tuple("0123456789"), (4.5,), (6.25,))
REFUSED = r"cannot be read as a hypernetwork \(.*\); it is damaged or of another version"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    ghn = GHN(CONFIG)
    save_checkpoint(tmp_path / "mine", ghn, ghn.state_dict(), TASK, "tiny")
    return tmp_path / "mine"


def rewrite(folder: Path, header: dict[str, str]) -> None:
    """The same weights with another header."""
    path = folder / "ghn.safetensors"
    save_file(load_file(path), path, header)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path: Path, draw: Callable[..., list[Plan]]) -> None:
    ghn = GHN(CONFIG)
    save_checkpoint(tmp_path, ghn, ghn.state_dict(), TASK, "tiny")
    loaded = load_checkpoint(str(tmp_path))
    assert (loaded.ghn.config, loaded.data, loaded.space, loaded.path) == (CONFIG, "digits", "tiny", tmp_path)
    assert loaded.task == TASK
    assert not loaded.ghn.training
    plans = draw("tiny", "id", 1)
    before, after = ghn(plans)[0], loaded.ghn(plans)[0]
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_other_weights_of_the_same_model_can_be_saved(tmp_path: Path) -> None:
    ghn = GHN(CONFIG)
    averaged = {name: value / 2 for name, value in ghn.state_dict().items()}
    save_checkpoint(tmp_path, ghn, averaged, TASK, "tiny")
    found = load_checkpoint(str(tmp_path)).ghn.state_dict()
    assert all(torch.equal(found[name], averaged[name]) for name in averaged)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.5, 0.999])
def test_a_truncated_file_is_refused(folder: Path, share: float) -> None:
    path = folder / "ghn.safetensors"
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(QnasError) as error:
        load_checkpoint(str(folder))
    assert str(error.value).startswith(f"{path} cannot be read as a hypernetwork (")
    assert str(error.value).endswith(
        "); it is damaged or of another version; give another `ghn`, or train one with `qnas.fit_ghn()`."
    )


def test_a_file_of_another_kind_is_refused(folder: Path) -> None:
    (folder / "ghn.safetensors").write_bytes(b"\x80\x02}q\x00." * 100)
    with pytest.raises(QnasError, match=REFUSED):
        load_checkpoint(str(folder))


HEADERS = {
    "no header": {},
    "no configuration": {"data": "digits", "space": "tiny"},
    "configuration is no JSON": {"config": "{", "data": "digits", "space": "tiny"},
    "configuration is a list": {"config": "[1]", "data": "digits", "space": "tiny"},
    "unknown setting": {"config": json.dumps({**asdict(CONFIG), "depth": 3}), "data": "digits", "space": "tiny"},
    "decoder is a number": {"config": json.dumps({**asdict(CONFIG), "decoder": 3}), "data": "digits", "space": "tiny"},
    "another size": {"config": json.dumps({**asdict(CONFIG), "channels": 5}), "data": "digits", "space": "tiny"},
    "no data set": {"config": json.dumps(asdict(CONFIG)), "space": "tiny"},
    "task is a list": {"config": json.dumps(asdict(CONFIG)), "data": "digits", "space": "tiny", "task": "[1]"},
    "task without classes": {
        "config": json.dumps(asdict(CONFIG)),
        "data": "digits",
        "space": "tiny",
        "task": '{"image": [1, 8, 8]}',
    },
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_wrong_header_is_refused(folder: Path, header: dict[str, str]) -> None:
    rewrite(folder, header)
    with pytest.raises(QnasError, match=REFUSED):
        load_checkpoint(str(folder))


def test_a_configuration_out_of_range_is_refused(folder: Path) -> None:
    rewrite(folder, {"config": json.dumps({**asdict(CONFIG), "sweep": "random"}), "data": "digits", "space": "tiny"})
    with pytest.raises(QnasError, match="A GHN's sweep is one of sequential, synchronous, got 'random'"):
        load_checkpoint(str(folder))


def test_missing_weights_are_refused(folder: Path) -> None:
    path = folder / "ghn.safetensors"
    header = {"config": json.dumps(asdict(CONFIG)), "data": "digits", "space": "tiny"}
    weights = load_file(path)
    del weights["norm.weight"]
    save_file(weights, path, header)
    with pytest.raises(QnasError, match=REFUSED):
        load_checkpoint(str(folder))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_hypernetwork_whose_training_diverged_is_refused(folder: Path, value: float) -> None:
    path = folder / "ghn.safetensors"
    weights = load_file(path)
    name = sorted(weights)[3]
    weights[name].view(-1)[0] = value
    save_file(weights, path, {"config": json.dumps(asdict(CONFIG)), "data": "digits", "space": "tiny"})
    with pytest.raises(QnasError, match=f"diverged: its tensor '{name}' has values that are no numbers; give another"):
        load_checkpoint(str(folder))


def test_a_save_that_fails_leaves_the_old_checkpoint(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = load_checkpoint(str(folder)).ghn.state_dict()

    def refuse(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("os.replace", refuse)
    other = GHN(CONFIG)
    with pytest.raises(OSError, match="no space left"):
        save_checkpoint(folder, other, other.state_dict(), TASK, "tiny")
    after = load_checkpoint(str(folder)).ghn.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_checkpoint_without_a_task_has_that_of_its_space(folder: Path) -> None:
    rewrite(folder, {"config": json.dumps(asdict(CONFIG)), "data": "mine", "space": "tiny"})
    assert load_checkpoint(str(folder)).task == Task((1, 8, 8), 10, "mine")


def test_a_shipped_checkpoint_is_found_by_its_name() -> None:
    files = shipped("checkpoints").rglob("ghn.safetensors")
    assert checkpoint_names() == sorted(path.parent.name for path in files)
    assert "digits" in checkpoint_names()
    assert find_checkpoint("digits") == shipped("checkpoints") / "digits"
    assert load_checkpoint("digits").path == find_checkpoint("digits")


def test_a_checkpoint_that_does_not_exist_is_named_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(QnasError) as error:
        load_checkpoint(str(tmp_path / "none"))
    assert str(error.value) == (
        f"No checkpoint {str(tmp_path / 'none')!r}: neither shipped ({', '.join(checkpoint_names())}) nor a folder "
        "with ghn.safetensors; train one with `qnas.fit_ghn(data='NAME', out='FOLDER')`, and give `ghn='FOLDER'`."
    )


def test_data_without_a_shipped_checkpoint_have_that_of_others() -> None:
    assert default_checkpoint("digits") == "digits"
    assert default_checkpoint("/some/folder") == OTHER
    assert OTHER in checkpoint_names()


def test_every_shipped_checkpoint_loads() -> None:
    assert [load_checkpoint(name).path.name for name in checkpoint_names()] == checkpoint_names()


def test_a_card_comes_back_as_it_was_saved(folder: Path) -> None:
    card = {"steps": 3, "accuracy": {"w4a4": 50.5}, "versions": ["2.13"]}
    save_card(folder, card)
    assert read_card(folder) == card


def test_a_checkpoint_without_a_card_has_an_empty_one(folder: Path) -> None:
    assert read_card(folder) == {}


@pytest.mark.parametrize("content", [b"{", b"\xff"], ids=["cut off", "no UTF-8"])
def test_a_damaged_card_is_refused(folder: Path, content: bytes) -> None:
    (folder / "card.json").write_bytes(content)
    with pytest.raises(QnasError, match=r"card.json cannot be read as a card \(.*\); delete it, and write it anew"):
        read_card(folder)
