"""Several processes that train one model, as ``torchrun`` starts them; a process on its own is one of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.reductions import reduce_tensor

OWN_SHARE = 0.9
"""Of a GPU's memory, for tensors; the rest is for the libraries of the processes."""


@dataclass(frozen=True)
class Ranks:
    """Which process this is, and of how many."""

    rank: int = 0
    count: int = 1

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.rank == 0

    def sum(self, tensor: Tensor) -> Tensor:
        """``tensor`` summed over all processes, in place; every process gets the same bits."""
        if self.count > 1:
            dist.all_reduce(tensor)
        return tensor


class TotalInPlace:
    """Sums a tensor over all processes, again and again, in place; every process gets the same bits.

    Processes that share one GPU read each other's memory there, as gloo's sums would pass through the host's.

    Args:
        tensor: the same one in every process, one-dimensional.
        ranks: the processes.
    """

    def __init__(self, tensor: Tensor, ranks: Ranks) -> None:
        self.tensor, self.ranks, self.turn = tensor, ranks, 0
        self.everyone: list[Tensor] = []
        if ranks.count > 1 and tensor.is_cuda and torch.cuda.device_count() == 1:
            own = tensor.new_empty(2, len(tensor))  # so that the next sum may begin while others still read this one
            handles: list[Any] = [None] * ranks.count
            dist.all_gather_object(handles, reduce_tensor(own))
            self.everyone = [
                own if rank == ranks.rank else open_it(*handle) for rank, (open_it, handle) in enumerate(handles)
            ]

    def __call__(self) -> None:
        """Sum; waits for the GPU where processes share one."""
        if not self.everyone:
            self.ranks.sum(self.tensor)
            return
        self.turn = 1 - self.turn
        self.everyone[self.ranks.rank][self.turn].copy_(self.tensor)
        torch.cuda.current_stream().synchronize()
        dist.barrier()
        torch.sum(torch.stack([one[self.turn] for one in self.everyone]), 0, out=self.tensor)


def is_first() -> bool:
    """Whether this process is on its own or the first of a ``torchrun``, which is the one that talks."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def joined_ranks() -> Iterator[Ranks]:
    """Join the other processes of a ``torchrun`` for the work inside the block.

    They talk through gloo, which also takes CUDA tensors and several processes on one GPU.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield Ranks()
        return
    dist.init_process_group("gloo")
    try:
        yield Ranks(dist.get_rank(), count)
        if torch.cuda.is_initialized():
            torch.cuda.synchronize()
        dist.barrier()  # nobody's memory goes while others read it
    finally:
        dist.destroy_process_group()


def share_memory(device: torch.device, ranks: Ranks) -> None:
    """Leave the other processes on a GPU their part of its memory: who needs more first gives back what lies unused."""
    if device.type == "cuda":
        sharing = -(-ranks.count // torch.cuda.device_count())
        torch.cuda.set_per_process_memory_fraction(OWN_SHARE / sharing, device)


def local_device(kind: str) -> torch.device:
    """The device of this process: the machine's GPUs are dealt out in turn."""
    if kind != "cuda":
        return torch.device(kind)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
