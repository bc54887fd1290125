"""Where a quantized network loses its accuracy, layer by layer (section 3 and figures 3 to 6 of the paper).

Every layer is looked at three times: how its numbers lie; what its rounding does alone, all else in float; and what
rounding does up to it, layer after layer from the image on. The last of those sequences is the quantized network
itself, with the arithmetic that it is evaluated with everywhere.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from qnas.data.batches import evaluation_batches
from qnas.data.images import Images
from qnas.errors import QnasError
from qnas.network.arithmetic import FloatArithmetic, arithmetic_for, folded
from qnas.network.forward import Arithmetic, Parameters, convolve, forward
from qnas.network.module import Network, has_weights
from qnas.network.plan import Node, Plan
from qnas.network.refitted import Partly, Refitted, Rounding, Unrounded, post_training
from qnas.quant.distribution import Distribution, distribution
from qnas.quant.grid import Sharing
from qnas.quant.scheme import HIGHEST
from qnas.runs.progress import Report
from qnas.scores.accuracy import EVALUATION_BATCH, right_places
from qnas.scores.predicted import departures

SEEN = 256
"""Training images that show how activations lie, and that set ranges after training."""
STATIC_BATCH = 256
"""Images a batch for a trained network, as ``deployed_accuracy`` has them."""
WORST = 3
"""Layers that are called the worst."""
EVERYWHERE, SHARING = "all layers", "a step a"
Origin = Literal["trained", "post-training", "predicted", "random"]
"""Trained at its bit widths; trained at others and rounded afterwards; predicted; He-random."""
Fold = Callable[[Node, Tensor, Parameters], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Studied:
    """A network whose layers are looked at.

    Args:
        name: what it is called.
        origin: of its parameters.
        plan: at its bit widths.
        parameters: whole, or first tiles.
        exact: its arithmetic in float.
        rounded: its arithmetic as it is evaluated.
        fold: weight and bias of a layer with its batch norm folded in.
        refit: its arithmetic on other grids.
        weights: what shares a step.
        batch: images that are evaluated together.
    """

    name: str
    origin: Origin
    plan: Plan
    parameters: Parameters
    exact: Arithmetic
    rounded: Arithmetic
    fold: Fold
    refit: Callable[[Rounding], Arithmetic]
    weights: Sharing
    batch: int

    @property
    def layers(self) -> list[Node]:
        """The nodes that round something, from the image on.

        Raises:
            QnasError: there are none.
        """
        nodes = [node for node in self.plan.nodes if not node.bits.is_float and (has_weights(node) or node.quantized)]
        if not nodes:
            raise QnasError(
                f"Layers lose what rounding takes, got {self.name} in float; give for example `bits='w4a4'`."
            )
        return nodes


def trained(name: str, network: Network, plan: Plan, seen: Tensor) -> Studied:
    """A trained network at the bit widths of a plan: on its trained grids where these are its own, else rounded after.

    Args:
        name: what to call it.
        network: trained, in evaluation mode.
        plan: of the same network.
        seen: training images (batch, channels, height, width) that set ranges which no training has set.
    """
    sharing: Sharing = "channel" if network.grids.choice.per_channel else "tensor"

    def refit(rounding: Rounding) -> Arithmetic:
        return post_training(plan, network, seen, rounding)

    own = plan.nodes == network.plan.nodes
    rounded = network if own else refit(Rounding(weights=sharing))
    origin: Origin = "trained" if own else "post-training"
    return Studied(
        name, origin, plan, dict(network.slots), Unrounded(network), rounded,
        lambda node, x, parameters: network.folded(node), refit, sharing, STATIC_BATCH,
    )  # fmt: skip


def untrained(name: str, origin: Origin, plan: Plan, parameters: Parameters, weights: Sharing) -> Studied:
    """A network with predicted or random parameters, with folds and ranges of each batch.

    Args:
        name: what to call it.
        origin: of the parameters.
        plan: of the network.
        parameters: whole, or first tiles.
        weights: what shares a step.
    """
    rounded = arithmetic_for(plan, weights)
    return Studied(
        name, origin, plan, parameters, FloatArithmetic(), rounded, folded, Refitted, weights, EVALUATION_BATCH
    )  # fmt: skip


@dataclass(frozen=True)
class Effect:
    """What rounding does to the logits of some images, against the same network in float.

    Args:
        top1: accuracy in per cent.
        drop: points of it that are lost.
        drop_error: standard error of ``drop``, paired by image.
        qmse: mean squared difference of the logits (section 3.1 of the paper).
        qce: mean cross-entropy of the classes' probabilities to those in float, in nats (likewise).
    """

    top1: float
    drop: float
    drop_error: float
    qmse: float
    qce: float


@dataclass(frozen=True)
class LayerRow:
    """A layer: its name and kind, its bit widths, how its numbers lie, and what its rounding does.

    ``weights`` are those with the batch norm folded in; ``activations`` the output before rounding, in float, its outer
    1 % clipped at each end (section 3.1). ``alone``: only this layer is rounded. ``sequence``: all up to this one.
    """

    layer: str
    kind: str
    bits: str
    weights: Distribution | None
    activations: Distribution | None
    alone: Effect
    sequence: Effect


@dataclass(frozen=True)
class Remedy:
    """What one change of one layer, or of all, does to the quantized network, without training.

    Args:
        layer: whose rounding is changed, or ``EVERYWHERE``.
        change: what is changed.
        top1: accuracy with it, in per cent.
        gain: points more than without.
        gain_error: standard error of ``gain``, paired by image.
        qce: as of ``Effect``.
    """

    layer: str
    change: str
    top1: float
    gain: float
    gain_error: float
    qce: float


@dataclass(frozen=True)
class NetworkLayers:
    """A network's layers.

    Args:
        network: its name.
        origin: of its parameters.
        data: name of the data set.
        images: how many validation images it was measured on.
        weights: what shares a step.
        float_top1: accuracy in float, in per cent.
        entropy: of the classes' probabilities in float, in nats: QCE where nothing is rounded.
        rows: a layer each, from the image on.
        remedies: what would help, if that was measured.
    """

    network: str
    origin: Origin
    data: str
    images: int
    weights: Sharing
    float_top1: float
    entropy: float
    rows: list[LayerRow]
    remedies: list[Remedy]

    @property
    def quantized(self) -> Effect:
        """All layers rounded: the network as it is evaluated."""
        return self.rows[-1].sequence

    @property
    def worst(self) -> list[LayerRow]:
        """The layers whose rounding alone moves the classes' probabilities farthest, the worst first."""
        return _worst(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Everything, as plain values."""
        return {**asdict(self), "worst": [row.layer for row in self.worst]}


def _worst(rows: Sequence[LayerRow]) -> list[LayerRow]:
    layers = [row for row in rows if row.kind != "input"]  # the image has as many bits as it can have
    return sorted(layers, key=lambda row: row.alone.qce, reverse=True)[:WORST]


class _Observer:
    """A network in float, which notes how weights and activations lie."""

    def __init__(self, studied: Studied) -> None:
        self.studied = studied
        self.weights: dict[str, Distribution] = {}
        self.activations: dict[str, Distribution] = {}

    def layer(self, node: Node, x: Tensor, parameters: Parameters) -> Tensor:
        weight, bias = self.studied.fold(node, x, parameters)
        self.weights[node.name] = distribution(weight)
        return convolve(node, x, weight, bias)

    def activation(self, node: Node, x: Tensor) -> Tensor:
        self.activations[node.name] = distribution(x, axis=1, fit="percentile")
        return x


class _Measured:
    """Logits of a network on some images in float, and those of other arithmetics held against them."""

    def __init__(self, studied: Studied, images: Images) -> None:
        self.studied, self.labels = studied, images.labels
        self.batches = [x for x, _ in evaluation_batches(images, studied.batch)]
        self.real = self.logits(studied.exact)

    def logits(self, arithmetic: Arithmetic) -> Tensor:
        plan, parameters = self.studied.plan, self.studied.parameters
        return torch.cat([forward(plan, parameters, x, arithmetic) for x in self.batches])

    def top1(self, logits: Tensor) -> float:
        share: float = (100 * right_places(logits, self.labels)[:, 0].sum() / len(self.labels)).item()
        return share

    def gain(self, logits: Tensor, others: Tensor) -> tuple[float, float]:
        """Points of accuracy that ``logits`` have more than others, and the standard error, paired by image."""
        right, before = (right_places(one, self.labels)[:, 0].double() for one in (logits, others))
        apart = 100 * (right - before)
        error = apart.std() / len(apart) ** 0.5 if len(apart) > 1 else torch.zeros(())
        return apart.mean().item(), error.item()

    def distances(self, logits: Tensor) -> tuple[float, float]:
        """QMSE and QCE."""
        squares, between = (departures(logits, self.real) / len(self.labels)).tolist()
        return squares / logits.shape[1], between

    def effect(self, arithmetic: Arithmetic) -> Effect:
        logits = self.logits(arithmetic)
        drop, error = self.gain(self.real, logits)
        return Effect(self.top1(logits), drop, error, *self.distances(logits))


@torch.no_grad()
def study_layers(
    studied: Studied,
    images: Images,
    seen: Tensor,
    data: str = "",
    remedies: bool = False,
    report: Report = lambda share, remark: None,
) -> NetworkLayers:
    """Look at every layer of a network.

    Args:
        studied: the network.
        images: to measure on.
        seen: training images (batch, channels, height, width) that show how activations lie.
        data: name of the data set.
        remedies: whether to measure what would help.
        report: told how far it is.

    Raises:
        QnasError: nothing in the network is rounded.
    """
    layers = studied.layers
    work = 2 * len(layers) + remedies * (1 + WORST) * len(changes(studied.weights))
    steps = iter(range(1, work + 1))

    def told(what: str) -> None:
        report(next(steps) / work, f"{studied.name}: {what}")

    observer, measured = _Observer(studied), _Measured(studied, images)
    forward(studied.plan, studied.parameters, seen, observer)
    rows, names = [], []
    for node in layers:
        names.append(node.name)
        alone = measured.effect(Partly([node.name], studied.rounded, studied.exact))
        told(node.name)
        sequence = measured.effect(Partly(names, studied.rounded, studied.exact))
        told(node.name)
        lie = observer.weights.get(node.name), observer.activations.get(node.name)
        rows.append(LayerRow(node.name, node.kind, _bits(node), *lie, alone, sequence))
    helping = list(_remedies(measured, _worst(rows), told)) if remedies else []
    report(1.0, studied.name)
    _, entropy = measured.distances(measured.real)
    top1 = measured.top1(measured.real)
    return NetworkLayers(
        studied.name, studied.origin, data, len(images), studied.weights, top1, entropy, rows, helping
    )  # fmt: skip


def changes(weights: Sharing) -> dict[str, Rounding]:
    """What may help without training, where weights share steps so."""
    other: Sharing = "tensor" if weights == "channel" else "channel"
    return {
        f"{HIGHEST} bits": Rounding(HIGHEST, weights=weights),
        "percentile ranges": Rounding(fit="percentile", weights=weights),
        "least-squares ranges": Rounding(fit="least_squares", weights=weights),
        f"{SHARING} {other}": Rounding(weights=other),
    }


def _remedies(measured: _Measured, worst: Sequence[LayerRow], told: Callable[[str], None]) -> Iterator[Remedy]:
    """Every change of each of the worst layers, and of all layers but the image."""
    studied = measured.studied
    before = measured.logits(studied.rounded)
    scopes = {row.layer: [row.layer] for row in worst}
    scopes[EVERYWHERE] = [node.name for node in studied.layers if node.kind != "input"]
    weighted = {node.name for node in studied.layers if has_weights(node)}
    refitted = {change: studied.refit(rounding) for change, rounding in changes(studied.weights).items()}
    for layer, names in scopes.items():
        for change, arithmetic in refitted.items():
            if change.startswith(SHARING) and not weighted.intersection(names):
                continue
            logits = measured.logits(Partly(names, arithmetic, studied.rounded))
            _, between = measured.distances(logits)
            yield Remedy(layer, change, measured.top1(logits), *measured.gain(logits, before), between)
            told(f"{change}, {layer}")


def _bits(node: Node) -> str:
    """The bit widths that count at a node: of the classifier its weights', of what has no weights its activations'."""
    if not has_weights(node):
        return f"a{node.bits.activations}"
    return str(node.bits) if node.quantized else f"w{node.bits.weights}"
