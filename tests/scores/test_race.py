"""Races of a few networks on the digits, held against plain computations and against runs to the end."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

from qnas.checkpoints.store import load_checkpoint
from qnas.data.images import DataSet, Images
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.network.arithmetic import arithmetic_for, static_on
from qnas.network.build import build_plan
from qnas.network.forward import Parameters, forward
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, Bits
from qnas.sampling.generator import stream
from qnas.scores.closed_form import ClosedForm
from qnas.scores.race import (
    CALIBRATION_IMAGES,
    PILOTS,
    Outcome,
    Race,
    Racer,
    fewest_missed,
    prepare_race,
    slices,
)
from qnas.space.space import find_space

BITS = [FP32, Bits(4, 4), Bits(2, 2)]
QUANTIZED = BITS[1:]
SPACE = find_space("tiny")
Draw = Callable[..., list[Plan]]


@pytest.fixture(scope="module")
def ghn() -> GHN:
    return load_checkpoint("digits").ghn


@pytest.fixture(scope="module")
def races(ghn: GHN, digits_data: DataSet) -> dict[Bits, Race]:
    return {bits: prepare_race(SPACE, bits, digits_data, ghn, 3) for bits in BITS}


def predicted(ghn: GHN, plan: Plan) -> Parameters:
    with torch.no_grad():
        return ghn([plan], whole=False)[0]


@pytest.fixture(scope="module")
def full(ghn: GHN, races: dict[Bits, Race], draw: Draw) -> dict[Bits, list[Outcome]]:
    """What six networks score when no cut stops them."""
    return {
        bits: [races[bits].run(plan, predicted(ghn, plan)) for plan in draw("tiny", "id", 6, bits=bits)]
        for bits in BITS
    }


def missed(outcome: Outcome, images: Images) -> int:
    return round((100 - outcome.score.top1) / 100 * len(images))


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_on_its_own_batch_the_static_arithmetic_is_the_dynamic_one(
    ghn: GHN, draw: Draw, digits_data: DataSet, bits: Bits
) -> None:
    images, _ = digits_data.train.batch(slice(0, 32))
    for plan in draw("tiny", "id", 4, bits=bits):
        parameters = predicted(ghn, plan)
        with torch.no_grad():
            dynamic = forward(plan, parameters, images, arithmetic_for(plan))
            static = forward(plan, parameters, images, static_on(plan, parameters, images))
        torch.testing.assert_close(static, dynamic, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_an_image_scores_the_same_in_any_company(ghn: GHN, draw: Draw, digits_data: DataSet, bits: Bits) -> None:
    calibration, _ = digits_data.train.batch(slice(0, 64))
    images, _ = digits_data.validation.batch(slice(0, 40))
    for plan in draw("tiny", "id", 3, bits=bits):
        parameters = predicted(ghn, plan)
        with torch.no_grad():
            arithmetic = static_on(plan, parameters, calibration)
            together = forward(plan, parameters, images, arithmetic)
            apart = torch.cat([forward(plan, parameters, part, arithmetic) for part in images.split(8)])
            dynamic = forward(plan, parameters, images, arithmetic_for(plan))
        assert (together - apart).abs().median() < 1e-4  # a value on the edge of two steps may round either way
        assert (together - dynamic).abs().median() > 1e-3


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_without_a_cut_the_score_is_that_of_all_images(
    ghn: GHN, draw: Draw, digits_data: DataSet, full: dict[Bits, list[Outcome]], bits: Bits
) -> None:
    calibration, _ = digits_data.train.batch(slice(0, CALIBRATION_IMAGES))
    x, labels = digits_data.validation.batch(slice(None))
    for plan, found in zip(draw("tiny", "id", 6, bits=bits), full[bits], strict=True):
        parameters = predicted(ghn, plan)
        with torch.no_grad():
            logits = forward(plan, parameters, x, static_on(plan, parameters, calibration)).double()
        odds = logits.softmax(1)
        right = odds[torch.arange(len(labels)), labels]
        others = odds.masked_fill(F.one_hot(labels, 10).bool(), 0).amax(1)
        assert (found.images, found.finished) == (len(labels), True)
        assert found.score.top1 == pytest.approx(100 * (logits.argmax(1) == labels).double().mean().item(), abs=0.5)
        assert found.score.loss == pytest.approx(F.cross_entropy(logits, labels).item(), rel=5e-3)
        assert found.score.margin == pytest.approx((right - others).mean().item(), abs=5e-3)


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_the_networks_of_these_tests_differ(digits_data: DataSet, full: dict[Bits, list[Outcome]], bits: Bits) -> None:
    assert len({missed(outcome, digits_data.validation) for outcome in full[bits]}) >= 4


@pytest.mark.parametrize("bits", QUANTIZED, ids=str)
def test_no_cut_changes_the_score_of_who_may_win_nor_lifts_who_may_not(
    ghn: GHN, draw: Draw, digits_data: DataSet, races: dict[Bits, Race], full: dict[Bits, list[Outcome]], bits: Bits
) -> None:
    plans, total = draw("tiny", "id", 6, bits=bits), len(digits_data.validation)
    dropped = 0
    for cut in sorted({missed(outcome, digits_data.validation) for outcome in full[bits]} | {0, 20}):
        for plan, whole in zip(plans, full[bits], strict=True):
            found = races[bits].run(plan, predicted(ghn, plan), cut)
            if missed(whole, digits_data.validation) <= cut:
                assert found == whole
            else:
                assert found.score.top1 < 100 * (1 - cut / total)
                assert found.images <= total
                dropped += not found.finished
    assert dropped > 0


@pytest.mark.parametrize("bits", QUANTIZED, ids=str)
def test_who_is_stopped_has_met_fewer_images_and_is_roughly_guessed(
    ghn: GHN, draw: Draw, digits_data: DataSet, races: dict[Bits, Race], full: dict[Bits, list[Outcome]], bits: Bits
) -> None:
    for plan, whole in zip(draw("tiny", "id", 6, bits=bits), full[bits], strict=True):
        found = races[bits].run(plan, predicted(ghn, plan), 0)
        assert not found.finished
        assert found.images in {end for _, end in slices(len(digits_data.validation))}
        assert found.images < len(digits_data.validation)
        assert 0 <= found.score.top1 <= 100
        assert -1 <= found.score.margin <= 1
        assert found.score.top1 == pytest.approx(whole.score.top1, abs=40)


@pytest.mark.parametrize("total", [1, 31, 32, 33, 64, 100, 297, 5000])
def test_slices_cover_all_images_once_and_double(total: int) -> None:
    found = list(slices(total))
    assert [number for start, end in found for number in range(start, end)] == list(range(total))
    for (_, end), (start, then) in pairwise(found):
        assert start == end
        assert then == min(2 * end, total)


def pilots_margins(ghn: GHN, data: DataSet, images: Images, bits: Bits) -> torch.Tensor:
    """Of each image, the mean margin of the networks that set the order."""
    calibration, _ = data.train.batch(slice(0, CALIBRATION_IMAGES))
    x, labels = images.batch(slice(None))
    drawn, margins = stream(SPACE, 3, bits=bits), []
    for _ in range(PILOTS):
        plan = build_plan(next(drawn), SPACE.task)
        parameters = predicted(ghn, plan)
        with torch.no_grad():
            odds = forward(plan, parameters, x, static_on(plan, parameters, calibration)).softmax(1)
        mine = F.one_hot(labels, 10).bool()
        margins.append(odds[mine] - odds.masked_fill(mine, 0).amax(1))
    return torch.stack(margins).mean(0)


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_images_come_first_that_the_pilots_are_least_certain_of(
    ghn: GHN, digits_data: DataSet, races: dict[Bits, Race], bits: Bits
) -> None:
    certainty = pilots_margins(ghn, digits_data, races[bits].images, bits).abs()
    assert (certainty[:-1] - certainty[1:]).max() < 0.05  # a value on the edge of two steps may round either way
    assert certainty[:64].max() < certainty[-64:].min()


def test_the_images_are_the_validation_images_with_their_labels(digits_data: DataSet, races: dict[Bits, Race]) -> None:
    def rows(images: Images) -> list[tuple[int, ...]]:
        return sorted(
            (*one.flatten().tolist(), int(label)) for one, label in zip(images.pixels, images.labels, strict=True)
        )

    for race in races.values():
        assert rows(race.images) == rows(digits_data.validation)
        assert torch.equal(race.calibration, digits_data.train.batch(slice(0, CALIBRATION_IMAGES))[0])


@pytest.mark.parametrize("bits", BITS, ids=str)
def test_misses_grow_less_than_images_and_not_at_the_end(
    digits_data: DataSet, races: dict[Bits, Race], bits: Bits
) -> None:
    growth = races[bits].growth
    ends = torch.tensor([float(end) for _, end in slices(len(digits_data.validation))])
    assert growth.shape == (3, len(ends))
    assert growth[:, -1].tolist() == pytest.approx([1, 1, 1], rel=1e-5)
    assert (growth[:, 1:] <= growth[:, :-1]).all()
    assert (growth[0] <= len(digits_data.validation) / ends * 1.001).all()
    assert races[bits].deviation[-1] == 0
    assert ((races[bits].deviation > 0) == (growth[0] > 1.0001)).all()  # pilots differ where there are misses to come


@pytest.mark.parametrize("growth", [1.0, 1.5, 3.0])
@pytest.mark.parametrize("missed", [0, 5, 40, 64])
def test_the_fewest_that_may_be_missed_lie_between_those_so_far_and_those_expected(growth: float, missed: int) -> None:
    found = [fewest_missed(missed, 64, 360, growth, deviation) for deviation in (0.0, 0.1, 5.0)]
    assert missed <= found[-1] <= found[1] <= found[0] <= growth * missed
    assert found[-1] == missed  # where pilots differ widely nothing more is sure


def test_at_the_end_the_misses_are_certain() -> None:
    assert fewest_missed(40, 360, 360, 1.0, 0.0) == 40


def test_more_misses_are_sure_the_more_images_were_met() -> None:
    found = [fewest_missed(seen / 4, seen, 1000, 1000 / seen, 0.0) for seen in (64, 128, 256, 512, 1000)]
    assert found == sorted(found)
    assert found[-1] == 250
    assert found[1] > 128 / 4


def test_the_same_seed_gives_the_same_race_and_another_gives_another(
    ghn: GHN, digits_data: DataSet, races: dict[Bits, Race]
) -> None:
    small = replace(digits_data, validation=digits_data.validation.first(120))
    first, again, other = (prepare_race(SPACE, Bits(4, 4), small, ghn, seed) for seed in (3, 3, 4))
    assert torch.equal(first.images.pixels, again.images.pixels)
    assert torch.equal(first.images.labels, again.images.labels)
    assert torch.equal(first.growth, again.growth)
    assert not torch.equal(first.images.pixels, other.images.pixels)


def test_a_hypernetwork_at_chance_is_refused_when_the_first_score_is_due(
    ghn: GHN, digits_data: DataSet, draw: Draw
) -> None:
    """One that has learned nothing, on labels that it could learn; one whose classes mean something else."""
    (plan,) = draw("tiny", "id", 1, bits=Bits(4, 4))
    shifted = replace(digits_data.validation, labels=(digits_data.validation.labels + 5) % 10)
    untrained = GHN(ghn.config).eval()
    for predictor, validation in ((untrained, digits_data.validation), (ghn, shifted)):
        racer = Racer(SPACE, Bits(4, 4), replace(digits_data, validation=validation), predictor, 0)
        with pytest.raises(QnasError, match=r"at chance: at w4a4, 8 networks .* no more of 360 validation"):
            racer(plan, float("inf"))
    racer = Racer(SPACE, Bits(4, 4), digits_data, ghn, 0)
    assert racer(plan, float("inf")).score.top1 > 50
    assert not racer.race.at_chance


def test_where_classifiers_are_fitted_to_the_images_these_are_to_blame(
    ghn: GHN, digits_data: DataSet, draw: Draw
) -> None:
    """Labels that say nothing of the images: their search goes on, by what else is known of networks."""
    (plan,) = draw("tiny", "id", 1, bits=Bits(4, 4))
    drawn = torch.randint(10, (len(digits_data.train),), generator=torch.Generator().manual_seed(0))
    data = replace(digits_data, train=replace(digits_data.train, labels=drawn))
    racer = Racer(SPACE, Bits(4, 4), data, ClosedForm(ghn, data.train), 0)
    assert racer(plan, float("inf")).score.top1 < 30
    assert racer.race.at_chance


def test_of_images_of_one_class_there_is_nothing_to_guess(ghn: GHN, digits_data: DataSet) -> None:
    images = digits_data.validation
    ones = replace(images, pixels=images.pixels[images.labels == 1], labels=images.labels[images.labels == 1])
    assert not prepare_race(SPACE, Bits(4, 4), replace(digits_data, validation=ones), ghn, 0).at_chance
