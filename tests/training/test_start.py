"""What training begins with: noise on predictions, the range of inputs, and shifts in long runs."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet, split_data
from qnas.network.build import build_plan
from qnas.space.cells import Branch
from qnas.space.genotype import Genotype
from qnas.training import start
from qnas.training.recipe import Recipe
from qnas.training.start import Kept, batches_of, initial_parameters, input_range, precision_of, untrained

EASY = Genotype(3, 1, 8, 2, True, (), ((Branch(0, "conv", 3), Branch(1, "sep_conv", 3)),))


def test_noise_sets_repeated_channels_apart_in_proportion(digits_data: DataSet) -> None:
    plan, ghn = build_plan(EASY, digits_data.task), load_checkpoint("digits").ghn
    still, noisy = (initial_parameters(plan, ghn, noise, torch.Generator().manual_seed(0)) for noise in (0.0, 0.05))
    for slot in plan.slots:
        difference = noisy[slot.name] - still[slot.name]
        if slot.kind != "weight":
            assert not difference.any()
        elif difference.numel() > 1000:
            assert difference.std().item() == pytest.approx(0.05 * still[slot.name].std().item(), rel=0.1)


def test_predicted_weights_get_the_size_of_random_ones_and_trained_ones_keep_theirs(digits_data: DataSet) -> None:
    plan, ghn = build_plan(EASY, digits_data.task), load_checkpoint("digits").ghn
    trained = untrained(plan, digits_data, Recipe(steps=10), 0)
    trained.slots["stem/weight"].data *= 20
    sizes = []
    for model in (ghn, Kept(dict(trained.slots))):
        found = initial_parameters(plan, model, 0.0, torch.Generator().manual_seed(0))
        sizes.append(found["stem/weight"].square().mean().sqrt().item() / (2 / 9) ** 0.5)
    assert sizes[0] == pytest.approx(1)
    assert 10 < sizes[1] < 40


def test_the_input_range_is_that_of_the_normalised_training_images(digits_data: DataSet) -> None:
    pixels = digits_data.train.pixels.numpy().astype(np.float64)
    expected = [(edge - pixels.mean()) / pixels.std() for edge in (pixels.min(), pixels.max())]
    assert input_range(digits_data.train) == pytest.approx(expected, rel=1e-5)


def test_the_input_range_covers_every_channel() -> None:
    pixels = np.zeros((4, 2, 2, 2), np.uint8)
    pixels[0, 0], pixels[1, 1] = 100, 200
    pixels[2, 1] = 50
    parts = (pixels, np.zeros(4, np.int64))
    data = split_data("made", ("a",), parts, parts, 0)
    values = (pixels - pixels.mean((0, 2, 3), keepdims=True)) / pixels.std((0, 2, 3), keepdims=True)
    assert input_range(data.train) == pytest.approx([values.min(), values.max()], rel=1e-5)


@pytest.mark.parametrize(("passes", "moved"), [(59.0, False), (60.0, True), (90.0, True)])
def test_images_are_shifted_in_long_runs_only(passes: float, moved: bool) -> None:
    pixels = torch.randint(0, 255, (64, 1, 6, 6), dtype=torch.uint8).numpy()
    labels = torch.zeros(64, dtype=torch.int64).numpy()
    data = split_data("random", ("a",), (pixels, labels), (pixels, labels), 0, shift=2)
    recipe = Recipe(batch=16)
    recipe = recipe.of(round(passes * 64 / 16))
    images, _ = next(batches_of(data, recipe, 0))
    plain = {tuple(one.flatten().tolist()) for one in data.train.batch(slice(None))[0]}
    same = [tuple(one.flatten().tolist()) in plain for one in images]
    assert all(same) != moved
    still, _ = next(batches_of(data, replace(recipe, shift=False), 0))
    assert all(tuple(one.flatten().tolist()) in plain for one in still)


@pytest.mark.parametrize(("passes", "mirrored"), [(19.0, False), (20.0, True)])
def test_images_are_mirrored_in_runs_as_long_as_the_data_say(passes: float, mirrored: bool) -> None:
    pixels = torch.randint(0, 255, (64, 1, 6, 6), dtype=torch.uint8).numpy()
    parts = (pixels, torch.zeros(64, dtype=torch.int64).numpy())
    data = split_data("random", ("a",), parts, parts, 0, mirror_from=20.0)
    recipe = Recipe(steps=round(passes * 4), batch=16)
    plain = {tuple(one.flatten().tolist()) for one in data.train.batch(slice(None))[0]}
    for chosen, moved in ((recipe, mirrored), (replace(recipe, mirror=False), False)):
        images, _ = next(batches_of(data, chosen, 0))
        assert all(tuple(one.flatten().tolist()) in plain for one in images) != moved


@pytest.mark.parametrize("is_native", [True, False])
def test_auto_takes_bfloat16_where_the_processor_has_it(is_native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(start, "multiplies_bfloat16", lambda device: is_native)
    cpu = torch.device("cpu")
    assert precision_of(Recipe(), cpu) == (torch.bfloat16 if is_native else None)
    assert precision_of(Recipe(precision="float32"), cpu) is None
    assert precision_of(Recipe(precision="bfloat16"), cpu) == torch.bfloat16
    for grid, expected in {"per-tensor": torch.bfloat16, "power-of-two": None, "asymmetric": None}.items():
        assert precision_of(Recipe(grid=grid, precision="bfloat16"), cpu) == expected
