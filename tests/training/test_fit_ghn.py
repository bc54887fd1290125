"""Training of the hypernetwork: its gradient held against plain autograd, its resume against an unbroken run."""

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.arithmetic import FloatArithmetic, NoisyArithmetic
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, MIXED, PAPER_BITS, Bits
from qnas.space.genotype import Genotype
from qnas.space.space import SPLITS, find_space
from qnas.task import Task
from qnas.training import fit_ghn
from qnas.training.fit_ghn import Counters, GHNTrainer, clip_factor
from qnas.training.fit_settings import BIT_SHARES, OPTIMIZERS, SPLIT_SHARES, FitSettings

SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8), knows_places=True)
Make = Callable[..., "Steered"]


class Steered(GHNTrainer):
    """A trainer of which a test may choose the networks, their images and how they are run."""

    run_by: Callable[..., Tensor] = staticmethod(forward)
    plans: tuple[Plan, ...] = ()
    images: tuple[Tensor, Tensor] | None = None

    def draw(self, seed: int, quantized: bool) -> Plan:
        return self.plans[seed % len(self.plans)] if self.plans else super().draw(seed, quantized)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.images or super().batch(generator)

    def run_network(
        self, plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any
    ) -> tuple[Tensor, Tensor]:
        logits = self.run_by(plan, parameters, images, arithmetic)
        return logits, logits  # which serve as features


@pytest.fixture
def make(digits_data: DataSet) -> Make:
    """A trainer of a small hypernetwork on a few digits."""

    def trainer(seed: int = 0, space: str = "tiny", config: GHNConfig = SMALL, **settings: Any) -> Steered:
        torch.manual_seed(seed)
        chosen = FitSettings(**{"steps": 4, "meta_batch": 2, "batch": 8, **settings})
        return Steered(GHN(config), digits_data, find_space(space), chosen)

    return trainer


def weights(trainer: GHNTrainer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in trainer.ghn.state_dict().items()}


def equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[name], second[name]) for name in first)


def finite(tensors: dict[str, Tensor]) -> bool:
    return all(bool(tensor.isfinite().all()) for tensor in tensors.values())


def scaled_logits(plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any) -> Tensor:
    return 3 * forward(plan, parameters, images, arithmetic)


def not_a_number(plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any) -> Tensor:
    return forward(plan, parameters, images, arithmetic) * float("nan")


def test_three_steps_train(make: Make) -> None:
    trainer = make(steps=3)
    before = weights(trainer)
    reports = list(trainer.run())
    assert [report.step for report in reports] == [1, 2, 3]
    assert [report.progress for report in reports] == pytest.approx([1 / 3, 2 / 3, 1])
    assert all(not torch.equal(before[name], value) for name, value in weights(trainer).items() if "widths" not in name)
    assert finite(weights(trainer))
    assert (trainer.counters.step, trainer.counters.image_passes) == (3, 3 * 2 * 8)
    assert trainer.counters.seconds > 0


def test_a_run_is_first_float_then_quantized(make: Make) -> None:
    reports = list(make(float_share=0.5).run())
    assert [report.phase for report in reports] == ["float", "float", "quantized", "quantized"]


def test_one_width_can_be_asked_for(make: Make) -> None:
    trainer = make(bits="w4a8")
    assert {trainer.draw(seed, quantized=True).nodes[-1].bits for seed in range(5)} == {Bits(4, 8)}
    assert {trainer.draw(seed, quantized=False).nodes[-1].bits for seed in range(5)} == {FP32}


def test_widths_and_splits_are_drawn_in_their_shares(make: Make) -> None:
    assert tuple(BIT_SHARES) == PAPER_BITS
    assert tuple(SPLIT_SHARES) == SPLITS
    trainer = make(mixed_share=0.0)
    plans = [trainer.draw(seed, quantized=True) for seed in range(300)]
    for bits, share in BIT_SHARES.items():
        assert sum(plan.nodes[-1].bits == bits for plan in plans) == pytest.approx(300 * share, abs=25)
    channels = [plan.nodes[1].shape[0] for plan in plans]
    assert sum(count >= 40 for count in channels) == pytest.approx(300 * SPLIT_SHARES["wide"], abs=20)
    assert sum(not plan.nodes[1].norm for plan in plans) == pytest.approx(300 * (0.1 + 0.9 * 0.2), abs=30)


def test_splits_can_be_asked_for(make: Make) -> None:
    trainer = make(splits="wide=1, bn_free=0")
    assert {trainer.draw(seed, quantized=False).nodes[1].shape[0] for seed in range(20)} <= {40, 48, 56, 64}


def test_a_width_is_trained_with_noise_where_that_is_asked_for(make: Make) -> None:
    noisy: list[bool] = []

    def record(plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any) -> Tensor:
        noisy.append(isinstance(arithmetic, NoisyArithmetic))
        return forward(plan, parameters, images, arithmetic)

    for bits, expected in (("w2a2", True), ("w4a4", False)):
        noisy.clear()
        trainer = make(bits=bits, noise="w2a2, w3a3", float_share=0.0)
        trainer.run_by = record
        trainer.step()
        assert noisy == [expected, expected]


def test_networks_of_several_widths_are_rounded_unless_all_are_trained_with_noise(make: Make) -> None:
    trainer = make(mixed_share=1.0, noise="w2a2")
    plans = [trainer.draw(seed, quantized=True) for seed in range(100)]
    plan = next(
        plan for plan in plans if plan.nodes[-1].bits == Bits(2, 2) and len({one.bits for one in plan.nodes}) > 1
    )
    assert not isinstance(trainer._arithmetic(plan, torch.Generator()), NoisyArithmetic)
    same = replace(plan, nodes=tuple(node._replace(bits=Bits(2, 2)) for node in plan.nodes))
    assert isinstance(trainer._arithmetic(same, torch.Generator()), NoisyArithmetic)


def test_some_quantized_networks_have_widths_of_their_own_for_every_layer(make: Make) -> None:
    def widths(trainer: Steered, seed: int, quantized: bool) -> set[Bits]:
        return {node.bits for node in trainer.draw(seed, quantized).nodes if node.kind in ("conv", "linear")}

    uniform, half, all_of_them = (make(mixed_share=share) for share in (0.0, 0.5, 1.0))
    mixed = [len(widths(half, seed, True)) > 1 for seed in range(60)]
    assert 15 < sum(mixed) < 45
    for seed in range(20):
        assert len(widths(all_of_them, seed, True)) > 1
        assert widths(all_of_them, seed, True) <= set(MIXED)
        assert widths(all_of_them, seed, False) == {FP32}
        assert len(widths(uniform, seed, True)) == 1
    reports = list(make(mixed_share=1.0, float_share=0.0).run())
    assert all(report.networks == 2 and report.loss_sum.isfinite() for report in reports)


def test_classifiers_in_closed_form_have_their_share_of_the_loss(make: Make) -> None:
    found = []
    for share in (0.0, 0.25, 0.75):
        trainer = make(batch=32, closed_head=share)
        trainer.run_by = scaled_logits
        found.append(trainer.step().loss_sum.item())
    predicted, closed = found[0], (found[2] - 0.25 * found[0]) / 0.75
    assert found[1] == pytest.approx(0.75 * predicted + 0.25 * closed, rel=1e-5)
    assert abs(closed - predicted) > 0.1


def test_a_shared_loss_trains_and_repeats(make: Make) -> None:
    trainers = [make(batch=32, closed_head=0.5) for _ in range(2)]
    reports = [list(trainer.run()) for trainer in trainers]
    assert all(report.networks == 2 and report.loss_sum.isfinite() for report in reports[0])
    assert equal(weights(trainers[0]), weights(trainers[1]))


def test_without_steps_the_minutes_count(make: Make) -> None:
    trainer = make(steps=0, minutes=1e-6)
    assert len(list(trainer.run())) == 1
    trainer = make(steps=0, minutes=2.0)
    trainer.counters.seconds = 30.0
    assert trainer.progress == 0.25


def test_a_run_is_reproducible_from_its_seed(make: Make) -> None:
    trainers = [make(steps=2, seed=0), make(steps=2, seed=0)]
    reports = [list(trainer.run()) for trainer in trainers]
    assert [report.loss_sum for report in reports[0]] == [report.loss_sum for report in reports[1]]
    assert equal(weights(trainers[0]), weights(trainers[1]))


def test_the_gradient_is_that_of_the_mean_loss(make: Make, genotype: Genotype, draw: Callable[..., list[Plan]]) -> None:
    other = draw("tiny", "id", 1)[0]
    images, labels = torch.randn(16, 1, 8, 8), torch.arange(16) % 10
    plans = [build_plan(genotype, Task((1, 8, 8), 10)), other]
    trainer = make(clip=1e9)
    trainer.plans, trainer.images = tuple(plans), (images, labels)
    ghn = copy.deepcopy(trainer.ghn)
    report = trainer.step()
    losses = [
        F.cross_entropy(forward(plan, predicted, images, FloatArithmetic()), labels)
        for plan, predicted in zip(plans, ghn(plans), strict=True)
    ]
    loss = torch.stack(losses).mean()
    loss.backward()
    assert report.loss_sum.item() / 2 == pytest.approx(loss.item(), rel=1e-5)
    for ours, theirs in zip(trainer.ghn.parameters(), ghn.parameters(), strict=True):
        assert ours.grad is not None
        assert theirs.grad is not None
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-5 * theirs.grad.abs().max().item())


@pytest.mark.parametrize(("most", "factor"), [(5.0, 0.5), (1.0, 0.1), (100.0, 1.0)])
def test_a_networks_gradient_is_limited_by_its_joint_norm(most: float, factor: float) -> None:
    torch.testing.assert_close(clip_factor(torch.tensor(10.0), most), torch.tensor(factor))


def test_the_average_is_a_moving_one_that_starts_fast(make: Make) -> None:
    trainer = make(steps=2, average=0.5)
    expected = weights(trainer)
    for step, _ in enumerate(trainer.run()):
        decay = min(0.5, (1 + step) / (10 + step))
        expected = {name: decay * expected[name] + (1 - decay) * value for name, value in weights(trainer).items()}
    for name, value in trainer.averaged.items():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_resumed_run_follows_the_unbroken_one_exactly(make: Make, tmp_path: Path, optimizer: str) -> None:
    unbroken, first, second = (make(seed, optimizer=optimizer) for seed in (0, 0, 99))
    list(unbroken.run())
    for _ in range(2):
        first.step()
    first.save(tmp_path)
    second.resume(tmp_path)
    assert second.counters == first.counters
    reports = list(second.run())
    assert [report.step for report in reports] == [3, 4]
    assert equal(weights(second), weights(unbroken))
    assert equal(second.averaged, unbroken.averaged)
    assert second.counters.image_passes == unbroken.counters.image_passes


def test_muon_turns_the_matrices_but_not_the_words(make: Make) -> None:
    trainer = make()
    trainer.step()
    state = optimizer_state(trainer)
    turned = {name.removesuffix("/momentum") for name in state if name.endswith("/momentum")}
    moved = {name.removesuffix("/exp_avg") for name in state if name.endswith("/exp_avg")}
    tables = ("primitive", "channels", "kernels", "widths", "places")
    matrices = {name for name, one in trainer.ghn.named_parameters() if one.dim() == 2 and not name.startswith(tables)}
    assert turned == matrices
    assert turned | moved == {name for name, _ in trainer.ghn.named_parameters()}
    assert not turned & moved


def test_adam_is_for_all_parameters_where_it_is_asked_for(make: Make) -> None:
    trainer = make(optimizer="adam")
    trainer.step()
    moved = {name.removesuffix("/exp_avg") for name in optimizer_state(trainer) if name.endswith("/exp_avg")}
    assert moved == {name for name, _ in trainer.ghn.named_parameters()}


def test_networks_come_again_a_while_later_on_other_images(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fit_ghn, "WINDOW", 2)
    trainer, seen = make(steps=8, meta_batch=1, repeats=3, float_share=0.0), list[tuple[Plan, Tensor]]()

    def record(plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any) -> Tensor:
        seen.append((plan, images))
        return forward(plan, parameters, images, arithmetic)

    trainer.run_by = record
    list(trainer.run())
    plans = [plan for plan, _ in seen]
    assert plans[0] == plans[2] == plans[4] != plans[1] == plans[3] == plans[5]
    assert plans[0] != plans[6] != plans[7] != plans[1]
    assert not torch.equal(seen[0][1], seen[2][1])


@pytest.mark.parametrize("noise", ["", "w2a2,w4a4,w4a8,w8a8"])
def test_a_resumed_run_goes_on_with_the_networks_that_come_again(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noise: str
) -> None:
    monkeypatch.setattr(fit_ghn, "WINDOW", 2)
    unbroken, first, second = (make(steps=6, repeats=3, noise=noise, seed=seed) for seed in (0, 0, 0))
    list(unbroken.run())
    for _ in range(3):
        first.step()
    first.save(tmp_path)
    second.resume(tmp_path)
    list(second.run())
    assert equal(weights(second), weights(unbroken))


def test_a_finished_run_has_nothing_left_to_do(make: Make, tmp_path: Path) -> None:
    first, second = make(steps=1), make(steps=1)
    list(first.run())
    first.save(tmp_path)
    second.resume(tmp_path)
    assert list(second.run()) == []


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"steps": 5}, "steps: 4 there, 5 now"),
        ({"rate": 0.01}, "rate: 0.002 there, 0.01 now"),
        ({"bits": "w4a4", "seed": 0}, "bits: '' there, 'w4a4' now"),
        ({"space": "mobile"}, "space: 'tiny' there, 'mobile' now"),
        (
            {"config": replace(SMALL, decoder=(8, 9))},
            "ghn decoder: [8, 8] there, [8, 9] now",
        ),
        ({"batch": 9, "meta_batch": 3}, "batch: 8 there, 9 now; meta_batch: 2 there, 3 now"),
    ],
    ids=["steps", "rate", "bits", "space", "model", "two"],
)
def test_changed_settings_are_refused_with_their_difference(
    make: Make, tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    make().save(tmp_path)
    trainer = make(**change)
    before = weights(trainer)
    with pytest.raises(QnasError) as error:
        trainer.resume(tmp_path)
    assert str(error.value) == (
        f"A run is continued with the settings it was begun with, but {tmp_path} differs ({difference}); "
        "give the old settings, or another `out`."
    )
    assert equal(weights(trainer), before)


@pytest.mark.parametrize("content", [None, b"", b"nothing of use", b"cut"], ids=["missing", "empty", "other", "cut"])
def test_a_state_that_cannot_be_read_is_named(make: Make, tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "state.safetensors"
    if content == b"cut":
        make().save(tmp_path)
        content = path.read_bytes()[:-100]
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(QnasError) as error:
        make().resume(tmp_path)
    assert str(error.value).startswith(f"{path} cannot be read as the state of a run (")
    assert str(error.value).endswith("); leave out `resume`, or name another `out`.")


def test_a_network_whose_loss_is_not_finite_is_left_out_and_counted(make: Make) -> None:
    trainer, calls = make(meta_batch=3), []

    def second_fails(*arguments: Any) -> Tensor:
        calls.append(arguments)
        return (not_a_number if len(calls) == 2 else forward)(*arguments)

    trainer.run_by = second_fails
    before = weights(trainer)
    report = trainer.step()
    counters = trainer.count_skipped()
    assert (counters.skipped_networks, counters.skipped_steps) == (1, 0)
    assert report.networks == 2
    assert torch.stack([report.loss_sum, report.accuracy_sum]).isfinite().all()
    assert finite(weights(trainer))
    assert not equal(weights(trainer), before)


def test_a_step_of_which_no_network_is_left_changes_nothing(make: Make) -> None:
    trainer = make()
    trainer.step()
    before, averaged, optimizer = weights(trainer), copy.deepcopy(trainer.averaged), optimizer_state(trainer)
    trainer.run_by = not_a_number
    report = trainer.step()
    counters = trainer.count_skipped()
    assert (counters.skipped_networks, counters.skipped_steps, counters.step) == (2, 1, 2)
    assert report.networks == 0
    assert equal(weights(trainer), before)
    assert equal(trainer.averaged, averaged)
    assert equal(optimizer_state(trainer), optimizer)


def test_networks_whose_gradients_are_not_finite_are_left_out_and_with_all_of_them_the_step(
    make: Make,
) -> None:
    trainer = make()
    trainer.step()
    before, averaged, optimizer = weights(trainer), copy.deepcopy(trainer.averaged), optimizer_state(trainer)

    def steep(plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Any) -> Tensor:
        nothing = (0 * parameters["stem/weight"]).sum().sqrt()  # 0, with the derivative 0 / 0
        return forward(plan, parameters, images, arithmetic) + nothing

    trainer.run_by = steep
    trainer.step()
    counters = trainer.count_skipped()
    assert (counters.skipped_networks, counters.skipped_steps, counters.step) == (2, 1, 2)
    assert equal(weights(trainer), before)
    assert equal(trainer.averaged, averaged)
    assert equal(optimizer_state(trainer), optimizer)


def optimizer_state(trainer: GHNTrainer) -> dict[str, Tensor]:
    return {
        f"{name}/{key}": value.clone()
        for name, parameter in trainer.ghn.named_parameters()
        for key, value in trainer.optimizer.state[parameter].items()
    }


def test_counters_survive_a_save_after_skipped_steps(make: Make, tmp_path: Path) -> None:
    first, second = make(), make()
    first.run_by = not_a_number
    first.step()
    first.save(tmp_path)
    second.resume(tmp_path)
    assert second.counters == Counters(step=1, image_passes=16, skipped_networks=2, skipped_steps=1)
    assert second.step().step == 2
    assert finite(weights(second))


def test_a_state_that_lacks_a_tensor_is_named(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    make().save(tmp_path)
    with safe_open(path, framework="pt") as file:
        header = file.metadata()
    tensors = load_file(path)
    del tensors["average/norm.weight"]
    save_file(tensors, path, header)
    with pytest.raises(QnasError, match="cannot be read as the state of a run"):
        make().resume(tmp_path)
