"""How fast parameters are predicted, beside GHN-2's published implementation on the same networks and threads.

    python benchmarks/predict.py --reference PATH       # a checkout of facebookresearch/ppuda
    python benchmarks/predict.py                        # beside the plain reference of plain_ghn.py

Measured from the genotype on: our graph against a module, its trace and its virtual edges; parameters of one network;
parameters of a batch of networks, per network. Every tensor is also held against the reference's. The last line is
JSON: medians over the networks of the reference's time by ours. ``predict_batch`` is of whole tensors;
``predict_batch_first_tiles`` of those that the tool's own forward pass takes, a repeating tensor as its first tile.
"""

from dataclasses import replace
from pathlib import Path
from statistics import mean, median
from typing import Any, Protocol

import plain_ghn
import torch
from common import finish, networks, options, seconds, settle, spread
from ppuda_reference import NAME, Reference
from torch import Tensor

from qnas.ghn.config import GHN_2
from qnas.ghn.model import GHN
from qnas.graph.encoding import encode
from qnas.network.build import build_plan
from qnas.network.plan import Plan
from qnas.space.genotype import Genotype
from qnas.space.space import find_space


class Rival(Protocol):
    """What is raced against: each step from a plan on, and a look at what it predicted."""

    def network(self, plan: Plan) -> Any:
        """What the rival makes of a plan before its graph."""

    def graph(self, network: Any) -> Any:
        """The graph with virtual edges."""

    def predict(self, network: Any, graph: Any) -> Any:
        """All parameters of one network."""

    def predict_batch(self, networks: list[Any], graphs: list[Any]) -> Any:
        """All parameters of many networks."""


class Plain:
    """The plain reference, in single precision; it has no batches."""

    def __init__(self, ghn: GHN) -> None:
        self.ghn, self.predicted = ghn, {}

    def network(self, plan: Plan) -> Plan:
        """The plan itself."""
        return plan

    def graph(self, network: Plan) -> plain_ghn.PlainGraph:
        """Nodes, edges and all shortest paths by networkx."""
        return plain_ghn.PlainGraph(network, self.ghn.config.virtual_edges)

    def predict(self, network: Plan, graph: Any) -> None:
        """One node and one tensor after another."""
        self.predicted = plain_ghn.predict(self.ghn, network)

    def predict_batch(self, networks: list[Plan], graphs: list[Any]) -> None:
        """One network after another."""
        for network, graph in zip(networks, graphs, strict=True):
            self.predict(network, graph)


def difference(rival: Rival, network: Any, ours: dict[str, Tensor]) -> float:
    """Largest difference of any tensor, relative to the tensor's largest value."""
    theirs = {name: rival.predicted[name] if isinstance(rival, Plain) else network.parameter_of(name) for name in ours}
    return max(float((theirs[name].detach() - value).abs().max() / value.abs().max()) for name, value in ours.items())


def largest_deep() -> Genotype:
    """The network of most nodes among some of the deep split's with the most cells."""
    space = find_space("mobile").of_split("deep")
    drawn = (genotype for genotype in networks(space, 2000) if genotype.cells == space.cells[1])
    return max(drawn, key=lambda genotype: len(build_plan(genotype, space.task).slots))


def main() -> None:
    """Measure and print."""
    given = options(__doc__, reference=Path, networks=32, virtual_edges=50, threads=1)
    settle(given.threads)
    ghn = GHN(replace(GHN_2, virtual_edges=given.virtual_edges)).eval()
    rival: Rival = Reference(given.reference, ghn) if given.reference else Plain(ghn)
    space = find_space("mobile")
    genotypes = networks(space, given.networks, part="held_out")

    def plan_of(genotype: Genotype) -> Plan:
        return build_plan(genotype, space.task)

    @torch.no_grad()
    def ours(chosen: list[Genotype], whole: bool = True) -> list[dict[str, Tensor]]:
        return ghn([plan_of(genotype) for genotype in chosen], whole)

    ours(genotypes[:2])
    ratios: dict[str, list[float]] = {"graph": [], "predict": []}
    times: dict[str, list[float]] = {"graph": [], "predict": [], "rival graph": [], "rival predict": []}
    worst, sizes = 0.0, []
    for genotype in genotypes:
        plan = plan_of(genotype)
        sizes.append(len(encode(plan).x))
        times["graph"].append(seconds(lambda g=genotype: encode(plan_of(g)), 5))
        times["predict"].append(seconds(lambda g=genotype: ours([g]), 5))
        network, graph = rival.network(plan), rival.graph(rival.network(plan))
        times["rival graph"].append(seconds(lambda p=plan: rival.graph(rival.network(p)), 3))
        alone = seconds(lambda n=network, g=graph: rival.predict(n, g), 3)
        worst = max(worst, difference(rival, network, ours([genotype])[0]))
        # the plain reference makes its graph anew when it predicts
        times["rival predict"].append(alone + (times["rival graph"][-1] if given.reference else 0.0))
        for kind in ratios:
            ratios[kind].append(times[f"rival {kind}"][-1] / times[kind][-1])
    batch = seconds(lambda: ours(genotypes), 5) / len(genotypes)
    tiles = seconds(lambda: ours(genotypes, whole=False), 5) / len(genotypes)
    plans = [plan_of(genotype) for genotype in genotypes]
    made = [rival.network(plan) for plan in plans]
    graphs = [rival.graph(network) for network in made]
    rival_batch = seconds(lambda: rival.predict_batch(made, graphs), 3) / len(genotypes)
    if given.reference:
        rival_batch += mean(times["rival graph"])
    for kind, values in times.items():
        print(f"{kind:14} {spread([1000 * value for value in values])} ms")
    mine = f"{1000 * batch:.2f} ms a network, {1000 * tiles:.2f} of first tiles"
    print(f"{'batch':14} {mine}; rival {1000 * rival_batch:.2f} ms")
    print(f"nodes {min(sizes)} to {max(sizes)}, median {median(sizes)}; largest difference {worst:.1e}")
    deep = largest_deep()
    deep_plan = plan_of(deep)
    deep_seconds = seconds(lambda: ours([deep]), 3)
    print(f"{deep.cells} cells, {len(encode(deep_plan).x)} nodes: {deep_seconds:.2f} s")
    finish(
        **{kind: round(median(values), 1) for kind, values in ratios.items()},
        predict_batch=round(rival_batch / batch, 1), predict_batch_first_tiles=round(rival_batch / tiles, 1),
        deep_nodes=len(encode(deep_plan).x), deep_seconds=round(deep_seconds, 3),
        against=NAME if given.reference else "the plain reference", largest_difference=worst, n=len(genotypes),
        virtual_edges=given.virtual_edges,
        threads=given.threads,
    )  # fmt: skip


if __name__ == "__main__":
    main()
