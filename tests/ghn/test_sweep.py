"""The level-by-level sweeps held against GHN-2's equations, one node at a time, and torch-geometric, in float64."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from threadpoolctl import ThreadpoolController
from torch import Tensor
from torch_geometric.data import Data
from torch_geometric.nn import MessagePassing

from qnas.ghn.sweep import GatedSweeps, Sweep, schedule
from qnas.graph.encoding import batch_graphs, encode
from qnas.network.plan import Plan

HIDDEN = 6
Draw = Callable[..., list[Plan]]


@pytest.fixture
def graph(draw: Draw) -> Data:
    """Two networks of different depths in one batch."""
    return batch_graphs([encode(plan) for plan in draw("tiny", "id", 2)])


def messages(module: GatedSweeps, states: Tensor) -> tuple[Tensor, Tensor]:
    """MLP(h) and MLP_sp(h) of states (nodes, hidden): two layers each, a ReLU after both."""
    half = HIDDEN // 2
    weight, bias = module.narrow.weight, module.narrow.bias
    near = F.linear(states, weight[:half], bias[:half]).relu()
    far = F.linear(states, weight[half:], bias[half:]).relu()
    return module.widen[0](near).relu(), module.widen[1](far).relu()


def one_node_at_a_time(module: GatedSweeps, states: Tensor, graph: Data) -> Tensor:
    """m_v = sum of MLP(h_u) over one hop + sum of MLP_sp(h_u) / s over 1 <= s <= 10, then h_v = GRU(m_v, h_v)."""
    edges = [(*pair, int(s)) for pair, s in zip(graph.edge_index.t().tolist(), graph.distance.tolist(), strict=True)]
    h = list(states)
    for _ in range(module.rounds):
        for forward in (True, False):
            order = range(len(h)) if forward else reversed(range(len(h)))
            incoming: list[list[tuple[int, int]]] = [[] for _ in h]
            for start, end, s in edges:
                incoming[end if forward else start].append((start if forward else end, s))
            for node in order:
                m = torch.zeros(HIDDEN, dtype=torch.float64)
                if incoming[node]:
                    near, far = messages(module, torch.stack([h[neighbour] for neighbour, _ in incoming[node]]))
                    for place, (_, s) in enumerate(incoming[node]):
                        m = m + far[place] / s + (near[place] if s == 1 else 0)
                h[node] = module.gru(m[None], h[node][None])[0]
    return torch.stack(h)


class Messages(MessagePassing):  # type: ignore[misc]
    """One synchronous half round: every node reads the states before it."""

    def __init__(self, sweeps: GatedSweeps) -> None:
        super().__init__(aggr="add")
        self.sweeps = sweeps

    def forward(self, h: Tensor, edge_index: Tensor, distance: Tensor) -> Tensor:
        updated: Tensor = self.sweeps.gru(self.propagate(edge_index, h=h, distance=distance), h)
        return updated

    def message(self, h_j: Tensor, distance: Tensor) -> Tensor:
        near, far = messages(self.sweeps, h_j)
        return (distance == 1)[:, None] * near + far / distance[:, None]


def exact(sweeps: list[Sweep]) -> list[Sweep]:
    """The schedule with its edge weights 1/s in float64."""

    def weights(sweep: Sweep) -> Tensor:
        near, far = sweep.weights.double().unbind(1)
        return torch.stack([near, 1 / (1 / far).round()], 1)

    return [sweep._replace(weights=weights(sweep)) for sweep in sweeps]


def gradients(module: GatedSweeps, states: Tensor, output: Tensor) -> list[Tensor]:
    weights = torch.randn(output.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    return list(torch.autograd.grad((output * weights).sum(), [states, *module.parameters()]))


@pytest.mark.parametrize("rounds", [1, 2])
def test_prediction_without_gradients_equals_one_node_at_a_time(graph: Data, rounds: int) -> None:
    module = GatedSweeps(HIDDEN, rounds).double()
    states = torch.randn(len(graph.x), HIDDEN, dtype=torch.float64)
    with torch.no_grad():
        found = module(states, exact(schedule(graph, sequential=True)))
    torch.testing.assert_close(found, one_node_at_a_time(module, states, graph), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("rounds", [1, 2])
def test_levels_equal_one_node_at_a_time_forward_and_backward(graph: Data, rounds: int) -> None:
    module = GatedSweeps(HIDDEN, rounds).double()
    states = torch.randn(len(graph.x), HIDDEN, dtype=torch.float64, requires_grad=True)
    found = module(states, exact(schedule(graph, sequential=True)))
    expected = one_node_at_a_time(module, states, graph)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(gradients(module, states, found), gradients(module, states, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_schedules_own_weights_are_within_single_precision(graph: Data) -> None:
    module = GatedSweeps(HIDDEN, 1).double()
    states = torch.randn(len(graph.x), HIDDEN, dtype=torch.float64)
    found = module(states, schedule(graph, sequential=True))
    torch.testing.assert_close(found, one_node_at_a_time(module, states, graph), rtol=1e-6, atol=1e-6)


def test_all_nodes_at_once_equal_message_passing_of_torch_geometric(draw: Draw) -> None:
    graph = encode(draw("tiny", "id", 1)[0])
    module = GatedSweeps(HIDDEN, 2).double()
    states = torch.randn(len(graph.x), HIDDEN, dtype=torch.float64, requires_grad=True)
    found = module(states, exact(schedule(graph, sequential=False)))
    expected: Tensor = states
    layer = Messages(module)
    for _ in range(2):
        expected = layer(expected, graph.edge_index, graph.distance)
        expected = layer(expected, graph.edge_index.flip(0), graph.distance)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    for ours, theirs in zip(gradients(module, states, found), gradients(module, states, expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-9)


def test_the_hand_made_gradient_is_the_derivative(draw: Draw) -> None:
    graph = encode(draw("tiny", "id", 1)[0])
    module = GatedSweeps(4, 1).double()
    sweeps = exact(schedule(graph, sequential=True))
    states = torch.randn(len(graph.x), 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda h: module(h, sweeps).sum(0), (states,), fast_mode=True)


@pytest.mark.parametrize("sequential", [True, False])
def test_a_schedule_visits_every_node_and_every_edge_once_each_way(graph: Data, sequential: bool) -> None:
    for sweep in schedule(graph, sequential):
        assert sorted(sweep.order.tolist()) == list(range(len(graph.x)))
        assert sweep.bounds == sorted(sweep.bounds)
        assert (sweep.bounds[0], sweep.bounds[-1]) == (0, len(graph.x))
        edges = torch.stack([sweep.order[sweep.starts], sweep.order[sweep.ends]]).t().tolist()
        expected = graph.edge_index.t().tolist()
        assert sorted(map(sorted, edges)) == sorted(expected)
        assert sum(len(level[2]) for level in sweep.levels()) == len(expected)


def test_a_level_reads_only_levels_before_it(graph: Data) -> None:
    for sweep in schedule(graph, sequential=True):
        for first, last, starts, ends, _ in sweep.levels():
            assert (starts < first).all()
            assert ((first <= ends) & (ends < last)).all()


def test_networks_in_a_batch_do_not_touch(draw: Draw) -> None:
    plans = draw("tiny", "id", 3)
    module = GatedSweeps(HIDDEN, 1).double()
    graphs = [encode(plan) for plan in plans]
    states = [torch.randn(len(graph.x), HIDDEN, dtype=torch.float64) for graph in graphs]
    together = module(torch.cat(states), schedule(batch_graphs(graphs), sequential=True))
    alone = [module(h, schedule(graph, sequential=True)) for h, graph in zip(states, graphs, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-12, atol=1e-12)


def test_predictions_do_not_depend_on_the_threads_of_numpy(draw: Draw) -> None:
    """Matrix products of many threads add up in another order."""
    graph = batch_graphs([encode(plan) for plan in draw("tiny", "id", 40)])
    module, sweeps = GatedSweeps(32, 1), schedule(graph, sequential=True)
    states = torch.randn(graph.x.shape[0], 32, generator=torch.Generator().manual_seed(0))
    found = []
    for threads in (1, 2, 4):
        with torch.no_grad(), ThreadpoolController().limit(limits=threads, user_api="blas"):
            found.append(module(states, sweeps))
    assert all(torch.equal(one, found[0]) for one in found)
