"""The cells of a study: what is trained, continued and marked."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.stack import Stack
from qnas.studies.init_runs import (
    Batch,
    batches_of,
    guessing,
    initial_parameters,
    make_runs,
    run_batch,
    runs_of,
    train_through,
)
from qnas.studies.init_settings import BLOCKS, EVERY, PRESETS, WIDTHS, InitSettings, find_preset
from qnas.training.plain import PlainTraining, Protocol

PROTOCOL = Protocol(epochs=0.5, batch=64, zoom=0.0, turn=0.0, flip=False)
TWO, THREE = ("regular_conv_with_bn", "dws_conv_no_bn"), ("he_normal", "ghn", "normal_large")
SETTINGS = InitSettings("digits", "digits", TWO, THREE, 2, 4, PROTOCOL, test_images=64, stack=2)


def fake(asked: list[str]) -> Callable[[Batch], dict[str, Any]]:
    """Does batches at no cost, and notes which."""

    def do(batch: Batch) -> dict[str, Any]:
        asked.append(batch.name)
        score = {"top1": 80.0, "decrease": 2.0, "qmse": 0.1, "qce": 0.5}
        cell = {"status": "trained", "fp32": 82.0, "quantized": dict.fromkeys(WIDTHS, score), "layers": []}
        return {"job": batch.name, "cells": dict.fromkeys(batch.initializers, cell), "seconds": 1.0}

    return do


def test_every_cell_is_done_once_in_batches_of_one_block_and_seed(tmp_path: Path) -> None:
    asked: list[str] = []
    runs = make_runs(SETTINGS, tmp_path / "study", do=fake(asked))
    assert len(asked) == len(set(asked)) == 2 * 2 * 2
    assert asked[0] == "regular_conv_with_bn/he_normal+ghn/0"
    cells = [(run.seed, run.block, run.initializer) for run in runs]
    wanted = [(seed, block, name) for seed in range(2) for block in SETTINGS.blocks for name in SETTINGS.initializers]
    assert cells == wanted
    assert make_runs(SETTINGS, tmp_path / "study", do=fake(asked)) == runs
    assert len(asked) == 8  # nothing is done again


def test_a_folder_is_of_one_study(tmp_path: Path) -> None:
    make_runs(SETTINGS, tmp_path / "study", do=fake([]))
    with pytest.raises(QnasError, match="seeds: 2 there, 3 now"):
        make_runs(replace(SETTINGS, seeds=3), tmp_path / "study", do=fake([]))


def test_networks_side_by_side_are_those_of_one_at_a_time_and_all_is_measured(tmp_path: Path) -> None:
    settings = replace(SETTINGS, blocks=("regular_conv_with_bn",), seeds=1)
    (whole,) = batches_of(replace(settings, stack=0), "cpu", tmp_path)
    single = batches_of(replace(settings, stack=1), "cpu", tmp_path)
    together, alone = runs_of(whole, run_batch(whole)), [run for one in single for run in runs_of(one, run_batch(one))]
    for one, other in zip(together, alone, strict=True):
        assert (one.initializer, one.seed) == (other.initializer, other.seed)
        assert one.fp32 == pytest.approx(other.fp32, abs=3.2)  # two of 64 images
        for layer, same in zip(one.layers, other.layers, strict=True):
            assert layer[1:] == pytest.approx(same[1:], rel=0.05)
    ghn = together[1]
    assert [layer.name for layer in ghn.layers][::8] == ["stem", "classifier"]
    assert set(ghn.quantized) == set(WIDTHS)
    eight = ghn.quantized["quint8"]
    assert eight.decrease == pytest.approx(100 * (ghn.fp32 - eight.top1) / ghn.fp32)


class Killed(PlainTraining):
    """A training that is stopped before its sixth step."""

    def step(self) -> torch.Tensor:
        if self.done == 5:
            raise KeyboardInterrupt
        return super().step()


def test_a_stopped_batch_goes_on_bit_for_bit(tmp_path: Path, digits_data: DataSet) -> None:
    plan = build_plan(HandMade("regular_conv", 4), digits_data.task)

    def training(kind: type[PlainTraining] = PlainTraining) -> PlainTraining:
        return kind(Stack(plan, [initial_parameters(plan, "he_normal", 0)]), digits_data, PROTOCOL, 0)

    whole, again, path = training(), training(), tmp_path / "state.safetensors"
    train_through(whole, path)
    with pytest.raises(KeyboardInterrupt):
        train_through(training(Killed), path, save_every=0)
    train_through(again, path)
    assert again.done == whole.done
    assert all(torch.equal(value, again.state()[name]) for name, value in whole.state().items())
    path.write_bytes(b"damaged")
    with pytest.raises(QnasError, match="cannot be read as the state of a training"):
        train_through(training(), path)


def test_what_diverges_is_marked(tmp_path: Path) -> None:
    wild = replace(SETTINGS, initializers=THREE[:1], seeds=1, protocol=replace(PROTOCOL, rate=1e6))
    _, batch = batches_of(wild, "cpu", tmp_path)
    (run,) = runs_of(batch, run_batch(batch))
    assert (run.status, run.fp32, run.quantized, run.trained) == ("diverged", None, {}, False)


def test_guessing_is_the_commonest_class_and_two_standard_errors(digits_data: DataSet) -> None:
    labels = digits_data.test.labels
    share = max((labels == label).float().mean().item() for label in range(10))
    assert guessing(digits_data.test) == pytest.approx(100 * (share + 2 * (share * (1 - share) / len(labels)) ** 0.5))


def test_seeds_and_initializers_decide_what_a_network_begins_with(digits_data: DataSet) -> None:
    plan = build_plan(HandMade("regular_conv", 4), digits_data.task)
    first, again, other = (initial_parameters(plan, "he_normal", seed) for seed in (0, 0, 1))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["stem/weight"], other["stem/weight"])


def test_presets_are_the_paper_s_and_smaller() -> None:
    paper = find_preset("paper")
    assert (paper.blocks, paper.initializers, paper.protocol) == (tuple(BLOCKS), EVERY, Protocol())
    assert len(EVERY) == 13
    passes = [PRESETS[name].protocol.epochs for name in ("quick", "middle", "paper")]
    assert passes == sorted(passes)
    with pytest.raises(QnasError, match="No preset is called 'quik'; did you mean 'quick'"):
        find_preset("quik")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"blocks": ("dws_conv",)}, "No block is called 'dws_conv'; did you mean"),
        ({"initializers": ("he",)}, "No initializer is called 'he'"),
        ({"seeds": 0}, "`seeds` is at least 1, got 0"),
        ({"shrink": 0}, "`shrink` is at least 1, got 0"),
        ({"blocks": ()}, "at least one of `blocks` and one of `initializers`"),
    ],
)
def test_wrong_settings_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(QnasError, match=message):
        replace(SETTINGS, **change)
