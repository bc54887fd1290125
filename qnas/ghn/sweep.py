"""Gated message passing along a network's graph, forward and then backward (GHN-2: Knyazev et al., 2021).

    m_v = Σ_{u: 1 hop} MLP(h_u) + Σ_{1 ≤ s ≤ s_max} MLP_sp(h_u) / s        h_v ← GRU(m_v, h_v)

h: (nodes, hidden) states; m: messages of the same shape; s: length of the shortest path from u to v. The backward
sweep runs the same update along reversed edges. Nodes at the same distance from the start update together, as one
level; inside a sweep nodes are kept in the order of their levels, so that a level is a slice.
"""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController
from torch import Tensor, nn
from torch_geometric.data import Data

from qnas.devices import sent_to

Array = NDArray[Any]
NUMPY_THREADS = ThreadpoolController()
"""Sets how many threads numpy's matrix products have, which torch's own setting does not reach."""


class Sweep(NamedTuple):
    """The order in which a sweep keeps the nodes, where its levels and their incoming edges begin, and the edges.

    ``starts`` and ``ends`` are places in that order, by their end; ``weights`` (edges, 2, 1) is what the one-hop and
    the shortest-path message of each edge count. Both lists of bounds end with the number of nodes, or edges.
    """

    order: Tensor
    bounds: list[int]
    edge_bounds: list[int]
    starts: Tensor
    ends: Tensor
    weights: Tensor

    def levels(self) -> list[tuple[int, int, Tensor, Tensor, Tensor]]:
        """First and last node of each level, and its edges."""
        counts = [last - first for first, last in pairwise(self.edge_bounds)]
        edges = (tensor.split(counts) for tensor in (self.starts, self.ends, self.weights))
        return list(zip(self.bounds, self.bounds[1:], *edges, strict=False))


def schedule(graph: Data, sequential: bool, device: torch.device | None = None) -> list[Sweep]:
    """The forward and the backward sweep over a batch of graphs; all nodes are one level if not ``sequential``.

    Args:
        graph: in the processor's memory, where the schedule is made, so that nothing waits for ``device``.
        sequential: whether nodes update in topological order.
        device: where the sweeps will run.
    """
    distance, (starts, ends) = graph.distance.numpy(), graph.edge_index.numpy()
    weights = np.stack([distance == 1, 1 / distance], axis=1).astype(np.float32)[:, :, None]
    levels = [graph.depth.numpy(), graph.height.numpy()]
    if not sequential:
        levels = [np.zeros_like(levels[0])] * 2
    return [_sweep(levels[0], starts, ends, weights, device), _sweep(levels[1], ends, starts, weights, device)]


def _sweep(level: Array, starts: Array, ends: Array, weights: Array, device: torch.device | None) -> Sweep:
    order = level.argsort(kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    edges = place[ends].argsort(kind="stable")
    nodes, edge_counts = np.bincount(level), np.bincount(level[ends], minlength=level.max() + 1)
    tensors = (
        sent_to(torch.from_numpy(array), device) for array in (place[starts[edges]], place[ends[edges]], weights[edges])
    )
    bounds, edge_bounds = ([0, *counts.cumsum().tolist()] for counts in (nodes, edge_counts))
    return Sweep(sent_to(torch.from_numpy(order), device), bounds, edge_bounds, *tensors)


class _SweepFunction(torch.autograd.Function):
    """One sequential sweep with its gradient worked out by hand.

    Autograd over hundreds of small levels spends its time on bookkeeping. Here a level costs a handful of small
    products in each direction, and every parameter's gradient is one product over all nodes at the end.
    Notation: ``h`` old and new states; ``r, z, n`` the gates; ``a`` and ``sent`` the hidden layer and the output of
    both message functions (nodes, hidden) and (nodes, 2 hidden).
    """

    @staticmethod
    def forward(
        ctx: Any, sweep: Sweep, h: Tensor, w_in: Tensor, b_in: Tensor, w_rec: Tensor, b_rec: Tensor,
        w_narrow: Tensor, b_narrow: Tensor, w_widen: Tensor, b_widen: Tensor,
    ) -> Tensor:  # fmt: skip
        count, size = h.shape
        recurrent = torch.addmm(b_rec, h, w_rec.t())
        total, new, a = (h.new_zeros(count, size) for _ in range(3))
        gates, sent = h.new_empty(count, 3 * size), h.new_empty(count, 2 * size)
        levels = sweep.levels()
        for first, last, starts, ends, weights in levels:
            rows = slice(first, last)
            if len(starts):
                received = (sent.view(count, 2, size).index_select(0, starts) * weights).sum(1)
                total.index_add_(0, ends, received)
            drive = torch.addmm(b_in, total[rows], w_in.t())
            r, z = torch.sigmoid(drive[:, : 2 * size] + recurrent[rows, : 2 * size]).chunk(2, 1)
            n = torch.tanh(torch.addcmul(drive[:, 2 * size :], r, recurrent[rows, 2 * size :]))
            gates[rows] = torch.cat([r, z, n], 1)
            new[rows] = torch.lerp(n, h[rows], z)
            a[rows] = torch.addmm(b_narrow, new[rows], w_narrow.t()).relu_()
            sent[rows] = torch.addmm(b_widen, a[rows], w_widen.t()).relu_()
        ctx.levels = levels
        ctx.save_for_backward(h, w_in, w_rec, w_narrow, w_widen, recurrent[:, 2 * size :], total, new, a, gates, sent)
        return new

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        h, w_in, w_rec, w_narrow, w_widen, rec_n, total, new, a, gates, sent = ctx.saved_tensors
        count, size = h.shape
        r, z, n = gates.chunk(3, 1)
        d_new = gradient.clone()
        d_sent, d_drive, d_narrow = torch.zeros_like(sent), torch.empty_like(gates), torch.empty_like(a)
        sent_on, a_on = (sent > 0).to(h.dtype), (a > 0).to(h.dtype)
        d_total = torch.empty_like(new)
        slope_r, slope_z, slope_n = r * (1 - r) * rec_n, z * (1 - z) * (h - n), (1 - n * n) * (1 - z)
        for first, last, starts, ends, weights in reversed(ctx.levels):
            rows = slice(first, last)
            d_sent[rows] *= sent_on[rows]
            d_narrow[rows] = (d_sent[rows] @ w_widen) * a_on[rows]
            d_new[rows] += d_narrow[rows] @ w_narrow
            step = d_new[rows]
            d_n = step * slope_n[rows]
            d_drive[rows] = torch.cat([d_n * slope_r[rows], step * slope_z[rows], d_n], 1)
            if len(starts):
                d_total[rows] = d_drive[rows] @ w_in
                received = d_total.index_select(0, ends)[:, None] * weights
                d_sent.view(count, 2, size).index_add_(0, starts, received)
        d_rec = d_drive.clone()
        d_rec[:, 2 * size :] *= r
        d_h = torch.addmm(d_new * z, d_rec, w_rec)
        return (
            None, d_h, d_drive.t() @ total, d_drive.sum(0), d_rec.t() @ h, d_rec.sum(0),
            d_narrow.t() @ new, d_narrow.sum(0), d_sent.t() @ a, d_sent.sum(0),
        )  # fmt: skip


def swept_without_gradient(sweep: Sweep, h: Tensor, *weights: Tensor) -> Tensor:
    """What ``_SweepFunction`` computes, for prediction on a processor.

    One thread computes it: its sums must not depend on how many processors there are.
    """
    with NUMPY_THREADS.limit(limits=1, user_api="blas"):
        return _in_numpy(sweep, h, *weights)


def _in_numpy(sweep: Sweep, h: Tensor, *weights: Tensor) -> Tensor:
    """A level of one network is a node or two, so its time is the overhead of operations, which numpy has less of."""
    arrays = [tensor.detach().numpy() for tensor in (h, *weights, sweep.starts, sweep.ends, sweep.weights)]
    old, w_in, b_in, w_rec, b_rec, w_narrow, b_narrow, w_widen, b_widen, starts, ends, edge_weights = arrays
    count, size = old.shape
    halved = np.concatenate([np.full(2 * size, 0.5), np.ones(size)]).astype(old.dtype)  # σ(x) = (1 + tanh(x / 2)) / 2
    w_both = np.tile((w_in.T * halved), (2, 1))  # the sum of both messages, times the weight
    b_in, recurrent = b_in * halved, (old @ w_rec.T + b_rec) * halved
    w_narrow, w_widen = np.ascontiguousarray(w_narrow.T), np.ascontiguousarray(w_widen.T)
    new, sent = np.empty_like(old), np.empty((count, 2 * size), old.dtype)
    pairs = sent.reshape(count, 2, size)
    first_edge = np.searchsorted(ends, np.arange(count))
    for (first, last), (begin, end) in zip(pairwise(sweep.bounds), pairwise(sweep.edge_bounds), strict=True):
        past, before = recurrent[first:last], old[first:last]
        drive = b_in[None]
        if end > begin:
            received = pairs.take(starts[begin:end], axis=0)
            received *= edge_weights[begin:end]
            total = np.add.reduceat(received, first_edge[first:last] - begin)
            drive = total.reshape(last - first, 2 * size) @ w_both
            drive += b_in
        gates = np.tanh(drive[:, : 2 * size] + past[:, : 2 * size])
        gates += 1
        gates *= 0.5
        n = np.tanh(drive[:, 2 * size :] + gates[:, :size] * past[:, 2 * size :])
        state = before - n
        state *= gates[:, size:]
        state += n
        new[first:last] = state
        a = state @ w_narrow
        a += b_narrow
        wide = np.maximum(a, 0, out=a) @ w_widen
        wide += b_widen
        np.maximum(wide, 0, out=sent[first:last])
    return torch.from_numpy(new)


class GatedSweeps(nn.Module):
    """Forward and backward sweeps with one shared gated recurrent unit and one shared pair of message functions.

    Args:
        hidden: length of a node's state, even.
        rounds: how many times both sweeps run.
    """

    def __init__(self, hidden: int, rounds: int) -> None:
        super().__init__()
        self.rounds = rounds
        self.gru = nn.GRUCell(hidden, hidden)
        self.narrow = nn.Linear(hidden, hidden)
        self.widen = nn.ModuleList(nn.Linear(hidden // 2, hidden) for _ in range(2))

    def forward(self, states: Tensor, sweeps: list[Sweep]) -> Tensor:
        """States (nodes, hidden) after all rounds."""
        widen = torch.block_diag(*(layer.get_parameter("weight") for layer in self.widen))
        widen_bias = torch.cat([layer.get_parameter("bias") for layer in self.widen])
        gru, narrow = self.gru, self.narrow
        weights = (gru.weight_ih, gru.bias_ih, gru.weight_hh, gru.bias_hh, narrow.weight, narrow.bias)
        plain = states.device.type == "cpu" and not torch.is_grad_enabled()
        for _ in range(self.rounds):
            for sweep in sweeps:
                ordered = states.index_select(0, sweep.order)
                if len(sweep.bounds) == 2:
                    updated = self._synchronous(ordered, sweep, widen, widen_bias)
                elif plain:
                    updated = swept_without_gradient(sweep, ordered, *weights, widen, widen_bias)
                else:
                    updated = _SweepFunction.apply(sweep, ordered, *weights, widen, widen_bias)  # type: ignore[no-untyped-call]
                states = torch.empty_like(states).index_copy(0, sweep.order, updated)
        return states

    def _synchronous(self, states: Tensor, sweep: Sweep, widen: Tensor, widen_bias: Tensor) -> Tensor:
        sent = torch.addmm(widen_bias, self.narrow(states).relu(), widen.t()).relu()
        pairs = sent.view(len(states), 2, -1)
        received = (pairs.index_select(0, sweep.starts) * sweep.weights).sum(1)
        updated: Tensor = self.gru(torch.zeros_like(states).index_add(0, sweep.ends, received), states)
        return updated
