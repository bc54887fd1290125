"""Several processes that train one model, as ``torchrun`` starts them; a process on its own is one of one."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor


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
    finally:
        dist.destroy_process_group()


def local_device(kind: str) -> torch.device:
    """The device of this process: the machine's GPUs are dealt out in turn."""
    if kind != "cuda":
        return torch.device(kind)
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())
