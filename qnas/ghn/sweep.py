"""Gated message passing along a network's graph, forward and then backward (GHN-2: Knyazev et al., 2021).

    m_v = Σ_{u: 1 hop} MLP(h_u) + Σ_{1 ≤ s ≤ s_max} MLP_sp(h_u) / s        h_v ← GRU(m_v, h_v)

h: (nodes, hidden) states; m: messages of the same shape; s: length of the shortest path from u to v. The backward
sweep runs the same update along reversed edges. Nodes at the same distance from the start update together, as one
level; inside a sweep nodes are kept in the order of their levels, so that a level is a slice.
"""

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch_geometric.data import Data


class Level(NamedTuple):
    """One slice ``first:last`` of nodes and their incoming edges.

    ``starts`` are places in the sweep's order, ``ends`` places inside the slice, and ``weights`` (edges, 2, 1) what
    the one-hop and the shortest-path message of each edge count.
    """

    first: int
    last: int
    starts: Tensor
    ends: Tensor
    weights: Tensor


class Sweep(NamedTuple):
    """The order in which a sweep keeps the nodes, and its levels."""

    order: Tensor
    levels: list[Level]


def schedule(graph: Data, sequential: bool) -> list[Sweep]:
    """The forward and the backward sweep over a batch of graphs; all nodes are one level if not ``sequential``."""
    weights = torch.stack([(graph.distance == 1).float(), 1 / graph.distance.float()], dim=1)[:, :, None]
    starts, ends = graph.edge_index
    depth, height = (graph.depth, graph.height) if sequential else (torch.zeros_like(graph.depth),) * 2
    return [_sweep(depth, starts, ends, weights), _sweep(height, ends, starts, weights)]


def _sweep(level: Tensor, starts: Tensor, ends: Tensor, weights: Tensor) -> Sweep:
    order = level.argsort(stable=True)
    place = torch.empty_like(order)
    place[order] = torch.arange(len(order), device=order.device)
    counts = level.bincount()
    last = counts.cumsum(0)
    edge_level = level[ends]
    edges = edge_level.argsort(stable=True)
    edge_counts = edge_level.bincount(minlength=len(counts)).tolist()
    inside = place[ends] - (last - counts)[edge_level]
    pieces = (tensor[edges].split(edge_counts) for tensor in (place[starts], inside, weights))
    bounds = [0, *last.tolist()]
    return Sweep(order, [Level(*row) for row in zip(bounds[:-1], bounds[1:], *pieces, strict=True)])


class _SweepFunction(torch.autograd.Function):
    """One sequential sweep with its gradient worked out by hand.

    Autograd over hundreds of small levels spends its time on bookkeeping. Here a level costs a handful of small
    products in each direction, and every parameter's gradient is one product over all nodes at the end.
    Notation: ``h`` old and new states; ``r, z, n`` the gates; ``a`` and ``sent`` the hidden layer and the output of
    both message functions (nodes, hidden) and (nodes, 2 hidden).
    """

    @staticmethod
    def forward(
        ctx: Any, levels: list[Level], h: Tensor, w_in: Tensor, b_in: Tensor, w_rec: Tensor, b_rec: Tensor,
        w_narrow: Tensor, b_narrow: Tensor, w_widen: Tensor, b_widen: Tensor,
    ) -> Tensor:  # fmt: skip
        count, size = h.shape
        recurrent = torch.addmm(b_rec, h, w_rec.t())
        total, new, a = (h.new_zeros(count, size) for _ in range(3))
        gates, sent = h.new_empty(count, 3 * size), h.new_empty(count, 2 * size)
        for first, last, starts, ends, weights in levels:
            rows = slice(first, last)
            if len(starts):
                received = (sent.view(count, 2, size).index_select(0, starts) * weights).sum(1)
                total[rows].index_add_(0, ends, received)
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
                d_total = (d_drive[rows] @ w_in).index_select(0, ends)
                d_sent.view(count, 2, size).index_add_(0, starts, d_total[:, None] * weights)
        d_rec = d_drive.clone()
        d_rec[:, 2 * size :] *= r
        d_h = torch.addmm(d_new * z, d_rec, w_rec)
        return (
            None, d_h, d_drive.t() @ total, d_drive.sum(0), d_rec.t() @ h, d_rec.sum(0),
            d_narrow.t() @ new, d_narrow.sum(0), d_sent.t() @ a, d_sent.sum(0),
        )  # fmt: skip


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
        for _ in range(self.rounds):
            for order, levels in sweeps:
                ordered = states.index_select(0, order)
                if len(levels) == 1:
                    updated = self._synchronous(ordered, levels[0], widen, widen_bias)
                else:
                    gru, narrow = self.gru, self.narrow
                    weights = (gru.weight_ih, gru.bias_ih, gru.weight_hh, gru.bias_hh, narrow.weight, narrow.bias)
                    updated = _SweepFunction.apply(levels, ordered, *weights, widen, widen_bias)  # type: ignore[no-untyped-call]
                states = torch.empty_like(states).index_copy(0, order, updated)
        return states

    def _synchronous(self, states: Tensor, level: Level, widen: Tensor, widen_bias: Tensor) -> Tensor:
        sent = torch.addmm(widen_bias, self.narrow(states).relu(), widen.t()).relu()
        pairs = sent.view(len(states), 2, -1)
        received = (pairs.index_select(0, level.starts) * level.weights).sum(1)
        updated: Tensor = self.gru(torch.zeros_like(states).index_add(0, level.ends, received), states)
        return updated
