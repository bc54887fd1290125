"""Training on a GPU, held against the same training on the processor."""

import pytest
import torch
from torch import Tensor

from qnas.data.images import DataSet
from qnas.ghn.config import GHNConfig
from qnas.ghn.model import GHN
from qnas.network.arithmetic import arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import forward
from qnas.network.initial import he_parameters
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.space.space import find_space
from qnas.training.fit_ghn import GHNTrainer
from qnas.training.fit_settings import FitSettings
from qnas.training.qat import begun, deployed_accuracy
from qnas.training.recipe import Recipe

pytestmark = pytest.mark.gpu
DEVICES = torch.device("cpu"), torch.device("cuda")
SMALL = GHNConfig(hidden=8, channels=8, kernel=7, decoder=(8, 8), weights="channel")


@pytest.fixture(autouse=True)
def _exact_products() -> None:
    """No shorter mantissas in convolutions than on the processor."""
    torch.backends.cudnn.allow_tf32 = False


@pytest.mark.parametrize("weights", ["tensor", "channel"])
@pytest.mark.parametrize("bits", PAPER_BITS, ids=str)
def test_predicted_parameters_give_the_same_logits_and_gradients(
    digits_data: DataSet, bits: Bits, weights: str
) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 4, bits=bits)), digits_data.task)
    initial = he_parameters(plan, torch.Generator().manual_seed(0))
    parameters = {name: value.double() for name, value in initial.items()}  # so that nothing rounds another way
    images = digits_data.train.batch(slice(64))[0].double()
    logits: list[Tensor] = []
    gradients: list[Tensor] = []
    for device in DEVICES:
        leaves = {name: value.to(device).requires_grad_() for name, value in parameters.items()}
        found = forward(plan, leaves, images.to(device), arithmetic_for(plan, weights))  # type: ignore[arg-type]
        parts = torch.autograd.grad(found.square().sum(), list(leaves.values()))
        logits.append(found.detach().cpu())
        gradients.append(torch.cat([part.flatten() for part in parts]).cpu())
    torch.testing.assert_close(logits[1], logits[0])
    torch.testing.assert_close(gradients[1], gradients[0])


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")
def test_a_hypernetwork_learns_as_on_the_processor_and_the_host_never_waits(digits_data: DataSet) -> None:
    losses = []
    for device in DEVICES:
        torch.manual_seed(0)
        settings = FitSettings(steps=40, meta_batch=2, batch=32, float_share=0.0)
        trainer = GHNTrainer(GHN(SMALL).to(device), digits_data.to(device), find_space("tiny"), settings)
        trainer.step()
        torch.cuda.set_sync_debug_mode("error" if device.type == "cuda" else "default")
        try:
            reports = [trainer.step() for _ in range(30)]
        finally:
            torch.cuda.set_sync_debug_mode("default")
        losses.append(sum(report.loss_sum.item() for report in reports[-10:]) / 20)
    assert losses[1] == pytest.approx(losses[0], rel=0.2)


@pytest.mark.parametrize("bits", [FP32, Bits(4, 4), Bits(2, 2)], ids=str)
def test_a_network_trains_as_well_as_on_the_processor(digits_data: DataSet, bits: Bits) -> None:
    plan = build_plan(next(stream(find_space("tiny"), 4, bits=bits)), digits_data.task)
    top1 = []
    for device in DEVICES:
        data = digits_data.to(device)
        training = begun(plan, data, Recipe(steps=60), 0)
        while training.done < 60:
            training.step()
        top1.append(deployed_accuracy(training.finish(), data.validation).top1)
    assert top1[1] == pytest.approx(top1[0], abs=8)
    assert min(top1) > 50
