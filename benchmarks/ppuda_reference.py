"""The published implementation of GHN-2 (facebookresearch/ppuda), as a checkout that the user names, on our networks.

No line of it is part of this project. Packages that it imports and that its graphs and hypernetwork do not need
(torchvision and the like) are replaced by empty ones where they are missing.
"""

import importlib.util
import sys
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import torch
from torch import Tensor, nn

from qnas.errors import QnasError
from qnas.ghn.config import GHN_2
from qnas.ghn.model import GHN
from qnas.graph.vocabulary import PRIMITIVES
from qnas.network.plan import Plan

UNNEEDED = ("torchvision", "torchvision.models", "torchvision.transforms", "einops", "matplotlib", "matplotlib.pyplot",
            "tqdm", "h5py")  # fmt: skip
THEIR_WORDS = {
    "max_pool": "max_pool", "avg_pool": "avg_pool", "depthwise_conv": "sep_conv", "dilated_conv": "dil_conv",
    "conv": "conv", "sum": "sum", "concat": "concat", "input": "input", "bias": "bias", "batch_norm": "bn",
    "global_avg": "glob_avg",
}  # fmt: skip
LARGEST = (64, 64, 11, 11)
NAME = "facebookresearch/ppuda"


class PlainNetwork(nn.Module):
    """A plan in the ordinary layers of ``torch.nn``, as their graphs are traced from."""

    expected_input_sz = 32

    def __init__(self, plan: Plan) -> None:
        super().__init__()
        self.plan = plan
        for node in plan.nodes:
            width = plan.nodes[node.inputs[0]].shape[0] if node.inputs else 0
            if node.kind == "conv":
                size = (width, node.shape[0], node.kernel, node.stride, node.padding, node.dilation, node.groups)
                self.add_module(node.name, nn.Conv2d(*size, bias=not node.norm))
                if node.norm:
                    self.add_module(f"{node.name}_norm", nn.BatchNorm2d(node.shape[0], track_running_stats=False))
            elif node.kind == "linear":
                self.add_module(node.name, nn.Linear(width, node.shape[0]))

    def forward(self, images: Tensor) -> Tensor:
        """Logits of images."""
        values: list[Tensor] = []
        for node in self.plan.nodes:
            inputs = [values[source] for source in node.inputs]
            match node.kind:
                case "input":
                    value = images
                case "conv":
                    value = getattr(self, node.name)(inputs[0])
                    value = getattr(self, f"{node.name}_norm")(value) if node.norm else value
                case "linear":
                    value = getattr(self, node.name)(inputs[0].flatten(1))
                case "max_pool":
                    value = nn.functional.max_pool2d(inputs[0], node.kernel, node.stride, node.padding)
                case "avg_pool":
                    args = (node.kernel, node.stride, node.padding)
                    value = nn.functional.avg_pool2d(inputs[0], *args, count_include_pad=False)
                case "global_avg":
                    value = nn.functional.adaptive_avg_pool2d(inputs[0], 1)
                case "sum":
                    value = inputs[0] if node.inputs[0] == node.inputs[1] else inputs[0] + inputs[1]
                case "concat":
                    value = torch.cat(inputs, 1)
            values.append(value.relu() if node.relu else value)
        return values[-1]

    def parameter_of(self, slot: str) -> Tensor:
        """The tensor that holds a slot of the plan."""
        name, _, kind = slot.rpartition("/")
        module = getattr(self, f"{name}_norm" if kind.startswith("norm") else name)
        value: Tensor = module.weight if kind.endswith("weight") else module.bias
        return value


class Reference:
    """Their hypernetwork with the weights of ours.

    Args:
        path: of the checkout.
        ghn: ours, configured as ``GHN_2``, with virtual edges of any length.

    Raises:
        QnasError: there is no checkout, or ``ghn`` is another kind of hypernetwork.
    """

    def __init__(self, path: Path, ghn: GHN) -> None:
        if not (path / "ppuda" / "ghn" / "nn.py").is_file():
            raise QnasError(f"--reference is a checkout of {NAME}, got {path}; clone it and name it.")
        if replace(ghn.config, virtual_edges=GHN_2.virtual_edges) != GHN_2:
            raise QnasError("The reference is GHN-2; compare it with a hypernetwork of the same configuration.")
        self.longest = ghn.config.virtual_edges
        sys.path.insert(0, str(path))
        for name in UNNEEDED:
            if name.partition(".")[0] in sys.modules or importlib.util.find_spec(name.partition(".")[0]) is None:
                sys.modules.setdefault(name, _empty(name))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from ppuda.deepnets1m.graph import Graph, GraphBatch  # type: ignore[import-not-found]
            from ppuda.deepnets1m.net import named_layered_modules  # type: ignore[import-not-found]
            from ppuda.ghn import nn as theirs  # type: ignore[import-not-found]
            from ppuda.utils import trainer  # type: ignore[import-not-found]
        self._graph, self._batch, self._modules = Graph, GraphBatch, named_layered_modules
        self.ghn = theirs.GHN(max_shape=LARGEST, num_classes=10, weight_norm=True, ve=True, layernorm=True)
        optimizer = torch.optim.Adam(self.ghn.parameters(), 1e-3, weight_decay=1e-5)
        self._trainer = trainer.Trainer(optimizer, 10, is_imagenet=False, n_batches=1, device="cpu")
        self.ghn.load_state_dict(_their_weights(ghn, self.ghn.state_dict()))

    def network(self, plan: Plan) -> PlainNetwork:
        """A fresh network."""
        return PlainNetwork(plan)

    def graph(self, network: PlainNetwork) -> Any:
        """The graph of a network with as long virtual edges as ours has."""
        return self._graph(network, ve_cutoff=self.longest)

    @torch.no_grad()
    def predict(self, network: PlainNetwork, graph: Any) -> None:
        """Put predicted parameters into one network."""
        self.ghn.eval()
        self.ghn(network, graphs=self._batch([graph]).to_device(torch.device("cpu")))

    def predict_batch(self, networks: list[PlainNetwork], graphs: list[Any]) -> list[PlainNetwork]:
        """Put predicted parameters, with their gradients, into many networks."""
        self._prepare(networks)
        result: list[PlainNetwork] = self.ghn(networks, graphs=self._batch(graphs).to_device(torch.device("cpu")))
        return result

    def _prepare(self, networks: list[PlainNetwork]) -> None:
        """Make ready to predict parameters with gradients."""
        self.ghn.train()
        for network in networks:
            network.__dict__["_layered_modules"] = self._modules(network)

    def step(self, plans: list[Plan], images: Tensor, labels: Tensor) -> Callable[[], Any]:
        """Everything ready for one step of their trainer on these networks."""
        networks = [self.network(plan) for plan in plans]
        graphs = self._batch([self.graph(network) for network in networks])
        self._prepare(networks)
        return lambda: self._trainer.update(networks, images, labels, ghn=self.ghn, graphs=graphs)


def _empty(name: str) -> ModuleType:
    module = MagicMock(name=name)
    module.__spec__ = None
    module.__all__ = []
    if name.startswith("torchvision"):
        module.__version__ = "0"
        module.models.vision_transformer.VisionTransformer = type("VisionTransformer", (), {})
    return module


def _their_weights(ghn: GHN, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """Our weights under their names."""
    from ppuda.deepnets1m.genotypes import PRIMITIVES_DEEPNETS1M as THEIR_PRIMITIVES

    ours = ghn.state_dict()
    half = ghn.config.hidden // 2
    theirs = {
        "embed.weight": torch.zeros_like(like["embed.weight"]),
        "shape_enc.embed_channel.weight": ours["channels.0.weight"],
        "shape_enc.embed_spatial.weight": ours["kernels.0.weight"],
        "ln.weight": ours["norm.weight"],
        "ln.bias": ours["norm.bias"],
    }
    for word, name in THEIR_WORDS.items():
        theirs["embed.weight"][THEIR_PRIMITIVES.index(name)] = ours["primitive.weight"][PRIMITIVES.index(word)]
    pairs = {
        "gnn.mlp.fc.2": "sweeps.widen.0", "gnn.mlp_ve.fc.2": "sweeps.widen.1", "decoder.fc.0": "conv.spatial",
        "decoder.conv.0": "conv.mix", "decoder.conv.2": "conv.expand",
        "decoder.class_layer_predictor.1": "classifier.weight", "decoder_1d.fc.0": "vectors.layers.0",
        "decoder_1d.fc.2": "vectors.layers.2", "bias_class.1": "classifier.bias",
    }  # fmt: skip
    for kind in ("weight", "bias"):
        theirs[f"gnn.mlp.fc.0.{kind}"] = ours[f"sweeps.narrow.{kind}"][:half]
        theirs[f"gnn.mlp_ve.fc.0.{kind}"] = ours[f"sweeps.narrow.{kind}"][half:]
        for gate in ("ih", "hh"):
            theirs[f"gnn.gru.{kind}_{gate}"] = ours[f"sweeps.gru.{kind}_{gate}"]
        for name, own in pairs.items():
            theirs[f"{name}.{kind}"] = ours[f"{own}.{kind}"]
    return {name: value.view_as(like[name]) for name, value in theirs.items()}
