"""Plain training of networks in float: SGD with momentum whose rate falls in steps (Yun and Wong, section 3.1)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.batches import Augmentation, mixed, training_batches
from qnas.data.images import DataSet
from qnas.errors import QnasError, at_least_one
from qnas.network.forward import Parameters
from qnas.network.plan import CLASSIFIER, Node
from qnas.network.stack import Stack


@dataclass(frozen=True)
class Protocol:
    """How a network is trained; the defaults are the paper's.

    Args:
        epochs: passes over the training images.
        batch: images an update.
        rate: first learning rate.
        momentum: of SGD.
        milestones: shares of the run after which the rate falls: epochs 75, 120 and 170 of 200.
        decay: what the rate is multiplied by there.
        dropout: share of the values that linear layers lose in training, the last one's logits excepted.
        zoom: see ``Augmentation``; the paper names zoom and rotation and gives no numbers.
        turn: likewise.
        flip: whether images that may be mirrored are also turned upside down.

    Raises:
        QnasError: no number of steps follows from it.
    """

    epochs: float = 200.0
    batch: int = 128
    rate: float = 0.01
    momentum: float = 0.9
    milestones: tuple[float, ...] = (75 / 200, 120 / 200, 170 / 200)
    decay: float = 0.1
    dropout: float = 0.5
    zoom: float = 0.1
    turn: float = 15.0
    flip: bool = True

    def __post_init__(self) -> None:
        at_least_one({"batch": self.batch})
        if not 0 < self.epochs < float("inf"):
            raise QnasError(f"`epochs` is above 0, got {self.epochs:g}; leave it out for the preset's.")

    def steps(self, images: int) -> int:
        """Updates of a run over so many training images."""
        return max(1, round(self.epochs * max(1, images // self.batch)))

    def rate_at(self, progress: float) -> float:
        """The learning rate once a share of the run is done."""
        passed = sum(progress >= milestone for milestone in self.milestones)
        return self.rate * self.decay**passed

    def augmentation(self, data: DataSet) -> Augmentation:
        """How images are changed: shifted and mirrored as the data allow it, zoomed and turned."""
        mirrored = data.is_mirrored()
        return Augmentation(data.shift, mirrored, 0.0, self.flip and mirrored, self.zoom, self.turn)


class _WithDropout:
    """A stack in training whose hidden linear layers lose a share of their values, the same of every network.

    Args:
        stack: of networks.
        share: of the values that are lost; the others grow in turn.
        generator: draws which, on the networks' device.
    """

    def __init__(self, stack: Stack, share: float, generator: torch.Generator) -> None:
        self.stack, self.share, self.generator = stack, share, generator

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        return self.stack.layer(node, x, parameters)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        if node.kind != "linear" or node.name == CLASSIFIER:
            return x
        drawn = torch.rand(len(x), x.shape[1] // self.stack.count, generator=self.generator, device=x.device)
        return x * (drawn >= self.share).repeat(1, self.stack.count) / (1 - self.share)


class PlainTraining:
    """A stack of networks in plain training, all on the same images in the same order.

    Args:
        stack: of float networks, on the device of the data.
        data: whose ``train`` part is used.
        protocol: how.
        seed: of the order of the images, their augmentation and dropout.
    """

    def __init__(self, stack: Stack, data: DataSet, protocol: Protocol, seed: int) -> None:
        self.stack, self.data, self.protocol, self.seed = stack, data, protocol, seed
        self.steps, self.done = protocol.steps(len(data.train)), 0
        device = data.train.labels.device
        self.lost = torch.zeros(stack.count, dtype=torch.bool, device=device)
        self.optimizer = torch.optim.SGD(stack.slots.values(), protocol.rate, protocol.momentum, fused=True)
        self.generator = torch.Generator(device)
        self._open(0)

    def _open(self, start: int) -> None:
        how = self.protocol.augmentation(self.data)
        self.batches = training_batches(self.data, self.protocol.batch, self.seed, how, start)

    @property
    def diverged(self) -> list[bool]:
        """Of every network whether some loss was no number."""
        lost: list[bool] = self.lost.tolist()
        return lost

    def step(self) -> Tensor:
        """One update; returns the losses, (networks,)."""
        images, labels = next(self.batches)
        dropout = self.generator.manual_seed(mixed(self.seed, self.done, 2))
        logits = self.stack(images, _WithDropout(self.stack, self.protocol.dropout, dropout))
        targets = labels[:, None].expand(-1, self.stack.count)
        losses = F.cross_entropy(logits.transpose(1, 2), targets, reduction="none").mean(0)
        for group in self.optimizer.param_groups:
            group["lr"] = self.protocol.rate_at(self.done / self.steps)
        self.optimizer.zero_grad()
        losses.sum().backward()
        self.optimizer.step()
        self.done += 1
        self.lost |= ~losses.detach().isfinite()
        return losses.detach()

    def state(self) -> dict[str, Tensor]:
        """All that decides the further course, by names; ``load_state`` reads it."""
        state = {f"stack/{name}": value for name, value in self.stack.state().items()}
        for name, parameter in self.stack.slots.items():
            for kind, value in self.optimizer.state[parameter].items():
                state[f"optimizer/{kind}/{name}"] = value
        return {**state, "done": torch.tensor(self.done), "lost": self.lost}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on from ``state()`` of a training of the same networks, data, protocol and seed."""
        self.stack.load_state({key.removeprefix("stack/"): value for key, value in state.items()})
        for key, value in state.items():
            part, _, rest = key.partition("/")
            if part == "optimizer":
                kind, _, name = rest.partition("/")
                parameter = self.stack.slots[name]
                self.optimizer.state[parameter][kind] = value.to(parameter.device, copy=True)
        self.done, self.lost = int(state["done"]), state["lost"].to(self.lost.device, copy=True)
        self._open(self.done)
