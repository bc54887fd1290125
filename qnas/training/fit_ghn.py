"""Trains a hypernetwork: first in float (GHN-Q), then quantization-aware at sampled bit widths (GHN-QAT).

Each step draws a few architectures, predicts all of their parameters at once, and runs each network on its own batch
of images. A network's gradient is taken with respect to its predicted parameters alone and handed back to the
hypernetwork in a single backward pass, so only one network's activations are alive at a time and a network whose loss
is not finite is left out at no cost.
"""

import json
import platform
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor

import qnas
from qnas.checkpoints.files import write_tensors
from qnas.checkpoints.identity import refuse_changes
from qnas.data.batches import random_batch
from qnas.data.images import DataSet
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.network.build import build_plan
from qnas.network.forward import arithmetic_for, forward
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, PAPER_BITS, Bits
from qnas.sampling.generator import stream
from qnas.space.genotype import Genotype
from qnas.space.space import SearchSpace
from qnas.training.schedule import learning_rate

STATE = "state.safetensors"
BIT_SHARES = dict(zip(PAPER_BITS, (0.15, 0.10, 0.15, 0.25, 0.35), strict=True))
"""How often the quantization-aware phase trains at each of the paper's settings: the harder ones more often."""


@dataclass(frozen=True)
class FitSettings:
    """How a hypernetwork is trained. The length is ``steps``, or ``minutes`` of training time if ``steps`` is 0.

    Raises:
        QnasError: a value is out of range.
    """

    steps: int = 0
    minutes: float = 10.0
    float_share: float = 0.4
    meta_batch: int = 4
    batch: int = 32
    rate: float = 2e-3
    quantized_rate: float = 1e-3
    weight_decay: float = 1e-5
    clip: float = 5.0
    average: float = 0.998
    bits: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.steps < 0 or (self.steps == 0 and self.minutes <= 0):
            raise QnasError(
                f"A fit needs a length, got {self.minutes} minutes and {self.steps} steps; "
                "give --max-minutes or --steps above 0."
            )
        if not 0 <= self.float_share <= 1:
            raise QnasError(f"--float-share is a share of the run, 0 to 1, got {self.float_share}; 0.4 is usual.")
        if min(self.meta_batch, self.batch) < 1 or min(self.rate, self.quantized_rate) <= 0:
            raise QnasError("Batches and learning rates must be positive; leave them out for the defaults.")
        if self.bits:
            Bits.parse(self.bits)


@dataclass
class Counters:
    """Where a run stands: steps done, seconds trained, image passes, networks and steps left out as not finite."""

    step: int = 0
    seconds: float = 0.0
    image_passes: int = 0
    skipped_networks: int = 0
    skipped_steps: int = 0


@dataclass(frozen=True)
class StepReport:
    """What one step did: mean loss and accuracy (per cent) of its networks, their bit widths, and the learning rate."""

    step: int
    progress: float
    phase: str
    rate: float
    loss: float
    accuracy: float
    bits: tuple[str, ...]


class GHNTrainer:
    """The state of one run: model, moving average of its weights, optimizer, counters.

    Args:
        ghn: to train, on its device.
        data: to train on, on the same device.
        space: to draw networks from, its limits counted for the data.
        settings: of the run.
    """

    def __init__(self, ghn: GHN, data: DataSet, space: SearchSpace, settings: FitSettings) -> None:
        self.ghn, self.data, self.space, self.settings = ghn, data, space, settings
        self.counters = Counters()
        self.averaged = {name: value.detach().clone() for name, value in ghn.state_dict().items()}
        self.optimizer = torch.optim.Adam(ghn.parameters(), lr=settings.rate, weight_decay=settings.weight_decay)
        self.shares = {Bits.parse(settings.bits): 1.0} if settings.bits else BIT_SHARES

    @property
    def progress(self) -> float:
        """Share of the run that is done."""
        settings, counters = self.settings, self.counters
        done = counters.step / settings.steps if settings.steps else counters.seconds / (60 * settings.minutes)
        return min(1.0, done)

    @property
    def device(self) -> torch.device:
        """Where the hypernetwork is."""
        return next(self.ghn.parameters()).device

    def run(self) -> Iterator[StepReport]:
        """Train until the end, one report a step."""
        while self.progress < 1:
            started = time.perf_counter()
            report = self.step()
            self.counters.seconds += time.perf_counter() - started
            yield report

    def step(self) -> StepReport:
        """One update from ``meta_batch`` networks."""
        settings, counters, progress = self.settings, self.counters, self.progress
        quantized = progress >= settings.float_share
        if quantized:
            share = (progress - settings.float_share) / max(1e-9, 1 - settings.float_share)
            rate = learning_rate(share, settings.quantized_rate)
        else:
            rate = learning_rate(progress / settings.float_share, settings.rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        plans = self._draw_plans(quantized)
        losses, accuracies = self._accumulate(plans)
        self._update()
        counters.step += 1
        loss, accuracy = (sum(values) / len(values) if values else float("nan") for values in (losses, accuracies))
        bits = tuple(str(plan.nodes[-1].bits) for plan in plans)
        phase = "quantized" if quantized else "float"
        return StepReport(counters.step, self.progress, phase, rate, loss, accuracy, bits)

    def _draw_plans(self, quantized: bool) -> list[Plan]:
        seed = self.settings.seed * 1_000_003 + self.counters.step
        drawn = islice(stream(self.space, seed, "train"), self.settings.meta_batch)
        if not quantized:
            return [self._plan_at(genotype, FP32) for genotype in drawn]
        chosen = random.Random(seed).choices(list(self.shares), list(self.shares.values()), k=self.settings.meta_batch)
        return [self._plan_at(genotype, bits) for genotype, bits in zip(drawn, chosen, strict=True)]

    def _plan_at(self, genotype: Genotype, bits: Bits) -> Plan:
        return build_plan(genotype.with_bits(bits), self.data.image, len(self.data.classes))

    def _accumulate(self, plans: list[Plan]) -> tuple[list[float], list[float]]:
        """Leave the mean loss's gradient in the hypernetwork; return loss and accuracy of the networks that count."""
        predictions = self.ghn(plans)
        generator = torch.Generator().manual_seed(self.settings.seed * 1_000_003 + self.counters.step)
        outputs: list[Tensor] = []
        gradients: list[Tensor] = []
        losses, accuracies = [], []
        for plan, predicted in zip(plans, predictions, strict=True):
            leaves = {name: value.detach().requires_grad_() for name, value in predicted.items()}
            images, labels = random_batch(self.data, self.settings.batch, generator)
            logits = forward(plan, leaves, images, arithmetic_for(plan))
            loss = F.cross_entropy(logits, labels)
            self.counters.image_passes += len(labels)
            if not torch.isfinite(loss):
                self.counters.skipped_networks += 1
                continue
            shares = torch.autograd.grad(loss, list(leaves.values()))
            norm = torch.stack(torch._foreach_norm(shares)).norm()
            if not torch.isfinite(norm):
                self.counters.skipped_networks += 1
                continue
            losses.append(loss.item())
            accuracies.append(100 * (logits.argmax(1) == labels).float().mean().item())
            outputs += predicted.values()
            gradients += torch._foreach_mul(shares, clip_factor(norm, self.settings.clip) / len(plans))
        self.optimizer.zero_grad()
        if outputs:
            torch.autograd.backward(outputs, gradients)
        return losses, accuracies

    def _update(self) -> None:
        """Clip and apply the gradient, unless it is not finite; then average the weights."""
        if any(parameter.grad is not None for parameter in self.ghn.parameters()):
            norm = torch.nn.utils.clip_grad_norm_(self.ghn.parameters(), self.settings.clip)
            if torch.isfinite(norm):
                self.optimizer.step()
                self._average()
                return
        self.counters.skipped_steps += 1

    def _average(self) -> None:
        decay = min(self.settings.average, (1 + self.counters.step) / (10 + self.counters.step))
        state = self.ghn.state_dict()
        torch._foreach_lerp_([self.averaged[name] for name in state], list(state.values()), 1 - decay)

    def save(self, folder: Path) -> None:
        """Write everything a resumed run needs into one file."""
        tensors = {f"model/{name}": value for name, value in self.ghn.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.averaged.items()}
        for name, parameter in self.ghn.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam/{key}/{name}"] = value
        header = {"settings": json.dumps(self.identity()), "counters": json.dumps(asdict(self.counters))}
        write_tensors(folder / STATE, tensors, header)

    def identity(self) -> dict[str, object]:
        """What must be the same for a run to go on: settings, data, space and model."""
        names = {"data": self.data.name, "space": self.space.name}
        config = {f"ghn {key}": value for key, value in asdict(self.ghn.config).items()}
        identity: dict[str, object] = json.loads(json.dumps({**asdict(self.settings), **names, **config}))
        return identity

    def card(self, start: str) -> dict[str, object]:
        """How the checkpoint was made: settings, data, counts, time, hardware and versions."""
        return {
            "settings": self.identity(),
            "start": start,
            "counters": asdict(self.counters),
            "parameters": sum(parameter.numel() for parameter in self.ghn.parameters()),
            "hardware": processor() if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "threads": torch.get_num_threads(),
            "versions": {"qnas": qnas.__version__, "torch": torch.__version__, "python": platform.python_version()},
        }

    def resume(self, folder: Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            QnasError: the state is missing, damaged, or of a run with other settings.
        """
        try:
            with safe_open(folder / STATE, framework="pt") as file:
                header = file.metadata()
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            before = json.loads(header["settings"])
            counters = Counters(**json.loads(header["counters"]))
            model = {name: tensors[f"model/{name}"] for name in self.ghn.state_dict()}
            averaged = {name: tensors[f"average/{name}"].to(self.device) for name in self.averaged}
        except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
            raise QnasError(
                f"{folder / STATE} cannot be resumed from ({error}); leave out --resume, or name another --out."
            ) from error
        refuse_changes(before, self.identity(), folder)
        self.counters, self.averaged = counters, averaged
        self.ghn.load_state_dict(model)
        for name, parameter in self.ghn.named_parameters():
            keys = [key for key in ("step", "exp_avg", "exp_avg_sq") if f"adam/{key}/{name}" in tensors]
            state = {key: tensors[f"adam/{key}/{name}"] for key in keys}
            self.optimizer.state[parameter] = {k: v if k == "step" else v.to(self.device) for k, v in state.items()}


def clip_factor(norm: Tensor, most: float) -> Tensor:
    """What scales a network's gradient of this norm to one of ``most``, so that none drowns the others; at most 1."""
    return (most / (norm + 1e-6)).clamp(max=1)


def processor() -> str:
    """The name of this machine's processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
