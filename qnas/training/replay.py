"""A computation that is done again and again on other inputs: on a GPU its launches are recorded and replayed.

A small network's forward and backward pass is a thousand launches, each of which keeps the host busy for longer than
the GPU. Replayed as one CUDA graph they cost the host next to nothing.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from qnas.devices import keeping_sent, sent_before


class Lane:
    """A stream for computations that never overlap, and memory that their recordings share."""

    def __init__(self) -> None:
        self.stream, self.pool = torch.cuda.Stream(), torch.cuda.graph_pool_handle()
        self.anchor = torch.cuda.CUDAGraph()  # memory that no graph uses for a moment could not be taken up again
        with torch.cuda.stream(self.stream):
            self.anchor.capture_begin(pool=self.pool)
            torch.zeros(1, device="cuda")
            self.anchor.capture_end()


class Repeated:
    """A computation on tensors of a GPU, whose results stay in tensors of its own.

    It is done as it is at its first call, so that all libraries are ready, recorded at the second, and replayed from
    then on.

    Args:
        compute: launches the same at every call, does not wait for the GPU, and sends to it by ``sent_to`` alone.
        lane: where it is done.
    """

    def __init__(self, compute: Callable[..., None], lane: Lane) -> None:
        self.compute, self.lane = compute, lane
        self.sent: list[Tensor] = []
        self.inputs: tuple[Tensor, ...] = ()
        self.graph: torch.cuda.CUDAGraph | None = None
        self.is_begun = False

    def __call__(self, *inputs: Tensor) -> None:
        """Compute; tensors (of the same shapes at each call) on the current stream."""
        self.lane.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.lane.stream):
            if not self.is_begun:
                self.is_begun = True
                with keeping_sent(self.sent):
                    self.compute(*inputs)
            else:
                if self.graph is None:
                    self.inputs = inputs
                    self.graph = self._recorded()
                else:
                    torch._foreach_copy_(self.inputs, inputs)
                self.graph.replay()
        torch.cuda.current_stream().wait_stream(self.lane.stream)

    def _recorded(self) -> torch.cuda.CUDAGraph:
        """What the computation launches on the inputs that are kept, not yet done."""
        graph = torch.cuda.CUDAGraph()
        graph.capture_begin(pool=self.lane.pool, capture_error_mode="thread_local")
        try:
            with sent_before(self.sent):
                self.compute(*self.inputs)
        finally:
            graph.capture_end()
        return graph
