"""Training on a GPU, held against the same training on the processor."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
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
from qnas.training import fit_ghn
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
    images = torch.rand(64, *digits_data.task.image, dtype=torch.float64)  # of digits many lie between two integers
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


@pytest.mark.parametrize("bits", ["fp32", "w8a8", "w2a2"])
def test_replayed_passes_give_the_gradient_of_passes_that_are_done_anew(
    digits_data: DataSet, bits: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To rounding where nothing is quantized; what is rounded differently at two bits may go its own way."""
    monkeypatch.setattr(fit_ghn, "WINDOW", 2)
    data = digits_data.to(DEVICES[1])
    trainers = []
    for _ in range(2):
        torch.manual_seed(0)
        settings = FitSettings(
            steps=16, meta_batch=2, batch=32, float_share=0.0, bits=bits, repeats=4, quantized_rate=1e-9
        )
        trainers.append(GHNTrainer(GHN(SMALL).to(DEVICES[1]), data, find_space("tiny"), settings))
    trainers[0].lane = None
    differences = []
    for _ in range(16):
        for trainer in trainers:
            trainer.step()
        first, second = (trainer.found[:-3] for trainer in trainers)
        differences.append(((first - second).norm() / first.norm()).item())
    assert all(kept.replayed and kept.replayed.graph for kept in trainers[1].kept.values())
    assert sorted(differences)[8] < (0.3 if bits == "w2a2" else 0.02)


def test_a_gpu_decodes_what_the_processor_does_where_convolutions_can_read_it() -> None:
    space = find_space("cifar")
    torch.manual_seed(0)
    ghn = GHN(GHNConfig(hidden=8, channels=16, kernel=5, decoder=(8, 8)))
    plans = [build_plan(next(stream(space.of_split(split), 2)), space.task) for split in space.splits]
    expected = ghn(plans)
    for found, known in zip(ghn.to(DEVICES[1])(plans), expected, strict=True):
        assert found.keys() == known.keys()
        for name, value in known.items():
            torch.testing.assert_close(found[name].cpu(), value, rtol=1e-4, atol=1e-5)
    for one in ghn(plans, whole=False):
        assert all(value.data_ptr() % 16 == 0 for name, value in one.items() if "classifier" not in name)


def test_processes_on_one_gpu_take_the_step_of_one(tmp_path: Path) -> None:
    """After one step Adam's first moment is a tenth of the gradient, and Muon's a twentieth, but for rounding."""
    moments = []
    for count in (1, 2):
        out = tmp_path / str(count)
        start = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"] if count == 2 else []
        command = [sys.executable, *start, "-m", "qnas", "fit-ghn", "--data", "digits", "--bits", "fp32", "--steps"]
        command += ["1", "--meta-batch", "2", "--batch", "16", "--device", "cuda", "--out", str(out)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stderr[-2000:]
        state = load_file(out / "state.safetensors")
        names = [name for name in sorted(state) if name.startswith(("adam/exp_avg/", "adam/momentum/"))]
        moments.append(torch.cat([state[name].flatten() for name in names]))
    assert (moments[1] - moments[0]).norm() <= 1e-3 * moments[0].norm()


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
