"""Trains a hypernetwork quantization-aware at sampled bit widths (GHN-QAT); in float first (GHN-Q), if wanted.

Each step draws a few architectures, predicts all of their parameters at once, and runs each network on its own batch
of images. A network's gradient is taken with respect to its predicted parameters alone and handed back to the
hypernetwork in a single backward pass, so only one network's activations are alive at a time, and a network whose loss
or gradient is not finite is left out. Under ``torchrun`` the networks of a step are dealt out to the processes; what a
step computes does not depend on how many there are. Nothing inside a step makes the host wait for the device.

A network may be trained several times before others are drawn, a while apart and on new images each time. That changes
what is learned little, and lets a GPU replay its passes (``qnas.training.replay``).
"""

import json
import platform
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
import torch_geometric
from torch import Tensor, nn

import qnas
from qnas.data.batches import random_batch
from qnas.data.images import DataSet
from qnas.distributed import Ranks, TotalInPlace
from qnas.errors import QnasError
from qnas.ghn.model import GHN
from qnas.network.arithmetic import NoisyArithmetic, arithmetic_for
from qnas.network.build import build_plan
from qnas.network.forward import Arithmetic, classified, features
from qnas.network.plan import Plan
from qnas.quant.scheme import FP32, MIXED
from qnas.runs.files import write_tensors
from qnas.runs.identity import refuse_changes
from qnas.runs.machine import processor
from qnas.runs.reading import parse_json, read_tensors, reading
from qnas.sampling.generator import stream
from qnas.scores.ridge import fit_ridge
from qnas.space.space import SearchSpace
from qnas.training.fit_settings import FitSettings
from qnas.training.muon import Muon
from qnas.training.replay import Lane, Repeated
from qnas.training.schedule import learning_rate

STATE = "state.safetensors"
STATE_OF_A_PARAMETER = ("step", "exp_avg", "exp_avg_sq", "momentum")
"""What the optimizers remember."""
WINDOW = 32
"""Steps after which the same networks come again, where they are trained several times."""
Passes = Callable[[Tensor, Tensor], None]
"""What runs a step's networks on their images and labels."""


@dataclass
class Counters:
    """Where a run stands: steps done, seconds trained, image passes, networks and steps left out as not finite."""

    step: int = 0
    seconds: float = 0.0
    image_passes: int = 0
    skipped_networks: int = 0
    skipped_steps: int = 0


class Kept(NamedTuple):
    """The networks of a step, by whose number they were drawn, that come again; on a GPU their passes are replayed."""

    number: int
    quantized: bool
    plans: list[Plan]
    replayed: Repeated | None


@dataclass(frozen=True)
class StepReport:
    """What one step did: its learning rate, mean loss and accuracy (per cent) of its networks, and how many counted.

    Loss and accuracy are scalars on the device, summed over the networks that count; reading them waits for the step.
    """

    step: int
    progress: float
    phase: str
    rate: float
    loss_sum: Tensor
    accuracy_sum: Tensor
    networks: Tensor


class GHNTrainer:
    """The state of one run: model, moving average of its weights, optimizer, counters.

    Args:
        ghn: to train, on its device.
        data: to train on, on the same device.
        space: to draw networks from, its limits counted for the data.
        settings: of the run.
        ranks: the processes that share the work.

    Raises:
        QnasError: the networks of a step cannot be dealt out evenly, or the space lacks a split that is asked for.
    """

    def __init__(
        self, ghn: GHN, data: DataSet, space: SearchSpace, settings: FitSettings, ranks: Ranks | None = None
    ) -> None:
        self.ghn, self.data, self.space, self.settings = ghn, data, space, settings
        self.ranks = ranks or Ranks()
        if settings.meta_batch % self.ranks.count:
            raise QnasError(
                f"`meta_batch` is a multiple of the processes, got {settings.meta_batch} networks and "
                f"{self.ranks.count} processes; take another of the two."
            )
        asked = settings.split_shares
        self.splits = {name: space.of_split(name) for name in asked if settings.splits or name in space.splits}
        self.counters = Counters()
        self.averaged = {name: value.detach().clone() for name, value in ghn.state_dict().items()}
        self.optimizer = _optimizer(ghn, settings)
        self.skipped = torch.zeros(2, device=self.device)  # networks and steps, not yet in the counters
        parameters = list(ghn.parameters())
        self.found = torch.zeros(sum(one.numel() for one in parameters) + 3, device=self.device)
        """All parameters' gradients, then loss, accuracy and number of the networks that count, each summed."""
        *gradients, self.sums = self.found.split([*(one.numel() for one in parameters), 3])
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient.view_as(parameter)
        self.total = TotalInPlace(self.found, self.ranks)
        replays = self.device.type == "cuda" and settings.repeats > 2 and not (settings.noise or settings.closed_head)
        self.lane = Lane() if replays else None
        self.kept: dict[int, Kept] = {}

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
            seconds = torch.tensor(time.perf_counter() - started, dtype=torch.float64)
            self.counters.seconds += self.ranks.sum(seconds).item() / self.ranks.count
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
        generators = [torch.Generator(self.device).manual_seed(seed) for seed in self._seeds(counters.step)]
        images, labels = zip(*(self.batch(generator) for generator in generators), strict=True)
        self._passes(quantized, generators)(torch.stack(images), torch.stack(labels))
        self._update()
        counters.step += 1
        counters.image_passes += settings.meta_batch * min(settings.batch, len(self.data.train))
        phase = "quantized" if quantized else "float"
        return StepReport(counters.step, self.progress, phase, rate, *self.sums.clone().unbind())

    def _seeds(self, step: int) -> list[int]:
        """The seeds of this process's networks, or of their images, by step."""
        settings = self.settings
        places = range(self.ranks.rank, settings.meta_batch, self.ranks.count)
        return [(settings.seed * 1_000_003 + step) * settings.meta_batch + place for place in places]

    def _passes(self, quantized: bool, generators: list[torch.Generator]) -> Passes:
        """Forward and backward passes of this step's networks, which may come again from an earlier step."""
        step, repeats = self.counters.step, self.settings.repeats
        turn, place = step // (WINDOW * repeats), step % WINDOW
        number = turn * WINDOW + place if repeats > 1 else step
        kept = self.kept.get(place)
        if kept is None or (kept.number, kept.quantized) != (number, quantized):
            plans = [self.draw(seed, quantized) for seed in self._seeds(number)]
            replayed = Repeated(partial(self._accumulate, plans, generators), self.lane) if self.lane else None
            kept = Kept(number, quantized, plans, replayed)
            if repeats > 1:
                self.kept[place] = kept
        return kept.replayed or partial(self._accumulate, kept.plans, generators)

    def draw(self, seed: int, quantized: bool) -> Plan:
        """A training network of a drawn split, at a drawn bit width."""
        settings, rng = self.settings, random.Random(seed)
        split = rng.choices(list(self.splits), [settings.split_shares[name] for name in self.splits])[0]
        bits = rng.choices(list(settings.bit_shares), list(settings.bit_shares.values()))[0] if quantized else FP32
        genotype = next(stream(self.splits[split], seed, "train", bits))
        if quantized and not settings.bits and rng.random() < settings.mixed_share:
            genotype = genotype.with_drawn_bits(lambda: rng.choice(MIXED))
        return build_plan(genotype, self.data.task)

    def batch(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Training images for one network, augmented, and their labels."""
        return random_batch(self.data, self.settings.batch, generator)

    def run_network(
        self, plan: Plan, parameters: dict[str, Tensor], images: Tensor, arithmetic: Arithmetic
    ) -> tuple[Tensor, Tensor]:
        """A network's features of the images, and its logits."""
        read = features(plan, parameters, images, arithmetic)
        return read, classified(plan, read, parameters, arithmetic)

    def _loss(self, read: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
        """The cross-entropy of predicted classifiers, and by the settings' share of those in closed form instead."""
        loss, share = F.cross_entropy(logits, labels), self.settings.closed_head
        if not share:
            return loss
        return (1 - share) * loss + share * F.cross_entropy(fit_ridge(read, labels, logits.shape[1]).left_out, labels)

    def _arithmetic(self, plan: Plan, generator: torch.Generator) -> Arithmetic:
        noisy = {node.bits for node in plan.nodes if node.kind in ("conv", "linear")} <= self.settings.noisy
        return NoisyArithmetic(generator) if noisy else arithmetic_for(plan, self.ghn.weights)

    def _accumulate(self, plans: list[Plan], generators: list[torch.Generator], images: Tensor, labels: Tensor) -> None:
        """Put into ``found`` what is due to some networks.

        Args:
            plans: of the networks.
            generators: of their noise.
            images: of each, (networks, batch, channels, height, width).
            labels: (networks, batch).
        """
        settings, parameters = self.settings, list(self.ghn.parameters())
        predictions = self.ghn(plans, whole=False)
        sums = torch.zeros(3, device=self.device)
        outputs: list[Tensor] = []
        gradients: list[Tensor] = []
        for plan, predicted, *of_network in zip(plans, predictions, generators, images, labels, strict=True):
            generator, x, y = of_network
            leaves = {name: value.detach().requires_grad_() for name, value in predicted.items()}
            read, logits = self.run_network(plan, leaves, x, self._arithmetic(plan, generator))
            loss = self._loss(read, logits, y)
            shares = torch.autograd.grad(loss, list(leaves.values()))
            gradient = torch.cat([share.flatten() for share in shares])
            norm = gradient.norm()
            counts = loss.isfinite() & norm.isfinite()
            gradient = gradient * (clip_factor(norm, settings.clip) / settings.meta_batch)
            pieces = torch.where(counts, gradient, 0).split([share.numel() for share in shares])
            outputs += predicted.values()
            gradients += [piece.view_as(share) for piece, share in zip(pieces, shares, strict=True)]
            accuracy = 100 * (logits.argmax(1) == y).float().mean()
            sums += torch.where(counts, torch.stack([loss.detach(), accuracy, torch.ones_like(loss)]), 0)
        found = torch.autograd.grad(outputs, parameters, gradients, materialize_grads=True, allow_unused=True)
        torch.cat([*(one.flatten() for one in found), sums], out=self.found)

    def _update(self) -> None:
        """Clip and apply the gradient and average the weights, unless the gradient is not finite or empty."""
        self.total()
        parameters, sums = list(self.ghn.parameters()), self.sums
        norm = torch.nn.utils.clip_grad_norm_(parameters, self.settings.clip)
        useless = ~norm.isfinite() | (sums[2] == 0)
        self.optimizer.found_inf = useless.float()  # type: ignore[attr-defined]  # which then leaves all as it is
        self.optimizer.step()
        self.skipped += torch.stack([self.settings.meta_batch - sums[2], useless.float()])
        decay = min(self.settings.average, (1 + self.counters.step) / (10 + self.counters.step))
        state = self.ghn.state_dict()
        share = torch.where(useless, 0.0, 1 - decay)
        torch._foreach_lerp_([self.averaged[name] for name in state], list(state.values()), [share] * len(state))

    def count_skipped(self) -> Counters:
        """The counters with the networks and steps that were left out; waits for the device."""
        networks, steps = self.skipped.tolist()
        self.skipped.zero_()
        self.counters.skipped_networks += int(networks)
        self.counters.skipped_steps += int(steps)
        return self.counters

    def save(self, folder: Path) -> None:
        """Write everything a resumed run needs into one file."""
        tensors = {f"model/{name}": value for name, value in self.ghn.state_dict().items()}
        tensors |= {f"average/{name}": value for name, value in self.averaged.items()}
        for name, parameter in self.ghn.named_parameters():
            for key, value in self.optimizer.state.get(parameter, {}).items():
                tensors[f"adam/{key}/{name}"] = value
        header = {"settings": json.dumps(self.identity()), "counters": json.dumps(asdict(self.count_skipped()))}
        write_tensors(folder / STATE, tensors, header)

    def identity(self) -> dict[str, object]:
        """What must be the same for a run to go on: settings, images, space and model."""
        names = {"data": self.data.name, "images": self.data.fingerprint, "space": self.space.name}
        config = {f"ghn {key}": value for key, value in asdict(self.ghn.config).items()}
        identity: dict[str, object] = json.loads(json.dumps({**asdict(self.settings), **names, **config}))
        return identity

    def card(self, start: str, history: list[dict[str, Any]]) -> dict[str, object]:
        """How the checkpoint was made: settings, data, counts, time, hardware, versions and the runs before it."""
        return {
            "settings": self.identity(),
            "start": start,
            "history": history,
            "counters": asdict(self.count_skipped()),
            "parameters": sum(parameter.numel() for parameter in self.ghn.parameters()),
            "hardware": processor() if self.device.type == "cpu" else torch.cuda.get_device_name(self.device),
            "processes": self.ranks.count,
            "threads": torch.get_num_threads(),
            "versions": {
                "qnas": qnas.__version__,
                "torch": torch.__version__,
                "torch-geometric": torch_geometric.__version__,
                "python": platform.python_version(),
            },
        }

    def resume(self, folder: Path) -> None:
        """Go on from what ``save`` wrote.

        Raises:
            QnasError: the state is missing, damaged, or of a run with other settings.
        """
        with reading(folder / STATE, "the state of a run", "leave out `resume`, or name another `out`"):
            tensors, header = read_tensors(folder / STATE)
            before = parse_json(header["settings"])
            counters = Counters(**parse_json(header["counters"]))
            model = {name: tensors[f"model/{name}"] for name in self.ghn.state_dict()}
            averaged = {name: tensors[f"average/{name}"].to(self.device) for name in self.averaged}
        refuse_changes(before, self.identity(), folder)
        self.counters, self.averaged = counters, averaged
        self.ghn.load_state_dict(model)
        for name, parameter in self.ghn.named_parameters():
            keys = [key for key in STATE_OF_A_PARAMETER if f"adam/{key}/{name}" in tensors]
            self.optimizer.state[parameter] = {key: tensors[f"adam/{key}/{name}"].to(self.device) for key in keys}


def _optimizer(ghn: GHN, settings: FitSettings) -> torch.optim.Optimizer:
    """Muon turns the matrices but for embeddings, whose rows are words of their own."""
    if settings.optimizer == "adam":
        return torch.optim.Adam(ghn.parameters(), lr=settings.rate, weight_decay=settings.weight_decay, fused=True)
    words = {module.weight for module in ghn.modules() if isinstance(module, nn.Embedding)}
    turned = [one for one in ghn.parameters() if one.dim() == 2 and one not in words]
    others = [one for one in ghn.parameters() if one.dim() != 2 or one in words]
    return Muon([{"params": turned, "orthogonal": True, "weight_decay": 0.0}, {"params": others, "weight_decay": 0.0}])


def clip_factor(norm: Tensor, most: float) -> Tensor:
    """What scales a network's gradient of this norm to one of ``most``, so that none drowns the others; at most 1."""
    return (most / (norm + 1e-6)).clamp(max=1)
