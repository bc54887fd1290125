"""Which device work is done on, and by how many processes."""

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from statistics import median

import torch
from torch import Tensor

from qnas.distributed import local_device
from qnas.errors import QnasError, shown

MOST_PROCESSES = 1024
SYSTEM_TIMES = Path("/proc/stat")
_kept: ContextVar[list[Tensor] | None] = ContextVar("_kept", default=None)
_again: ContextVar[Iterator[Tensor] | None] = ContextVar("_again", default=None)


def pick_device(name: str) -> torch.device:
    """``auto`` takes a CUDA device where there is one.

    Raises:
        QnasError: the device is not known or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise QnasError(f"`device` is auto, cpu or cuda, got {name!r}; leave it out to take what the machine has.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise QnasError(
            "`device='cuda'` needs a CUDA device and a CUDA build of torch, not both are here; give `device='cpu'`."
        )
    return local_device("cuda" if name != "cpu" and there else "cpu")


def sent_to(tensor: Tensor, device: torch.device | None) -> Tensor:
    """A copy on the device, for which the host does not wait."""
    if device is None or device.type != "cuda":
        return tensor
    if again := _again.get():
        return next(again)
    copy = tensor.pin_memory().to(device, non_blocking=True)
    if (kept := _kept.get()) is not None:
        kept.append(copy)
    return copy


@contextmanager
def keeping_sent(copies: list[Tensor]) -> Iterator[None]:
    """Collect the copies that ``sent_to`` makes inside the block on a GPU."""
    before = _kept.set(copies)
    try:
        yield
    finally:
        _kept.reset(before)


@contextmanager
def sent_before(copies: list[Tensor]) -> Iterator[None]:
    """Make ``sent_to`` give these copies, one a call: the block does what was done when they were collected."""
    before = _again.set(iter(copies))
    try:
        yield
    finally:
        _again.reset(before)


def multiplies_bfloat16(device: torch.device) -> bool:
    """Whether a device is a processor with instructions for products of bfloat16."""
    instructions = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return device.type == "cpu" and any(instructions.get(name) for name in ("avx512_bf16", "amx_bf16"))


def use_threads(count: int) -> None:
    """Set how many CPU threads an operation uses.

    Raises:
        QnasError: less than one, or more than any machine has.
    """
    if not 1 <= count <= MOST_PROCESSES:
        raise QnasError(f"`threads` is 1 to {MOST_PROCESSES}, got {shown(count)}; leave it out for one.")
    torch.set_num_threads(count)


@contextmanager
def computing(threads: int) -> Iterator[None]:
    """Compute on so many CPU threads inside the block.

    Raises:
        QnasError: less than one, or more than any machine has.
    """
    before = torch.get_num_threads()
    use_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worker_count(wanted: int, device: torch.device) -> int:
    """Processes that train at once: as many as wanted, else one a core, and one on a GPU.

    Raises:
        QnasError: less than none is wanted.
    """
    if not 0 <= wanted <= MOST_PROCESSES:
        raise QnasError(
            f"`workers` is 1 to {MOST_PROCESSES}, or 0 for one a core, got {shown(wanted)}; leave it out for the "
            "default."
        )
    if wanted:
        return wanted
    if device.type == "cuda":
        return 1
    return processors()


def processors() -> int:
    """How many of the machine's processors this process may compute on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def idle_processors(seconds: float = 0.2, moments: int = 5) -> float:
    """How many of them others leave idle, the median of some moments; all of them where the system does not tell."""
    if not SYSTEM_TIMES.is_file():
        return processors()
    shares, before = list[float](), _ticks()
    for _ in range(moments):
        time.sleep(seconds)
        now = _ticks()
        passed = [after - then for then, after in zip(before, now, strict=True)]
        shares.append((passed[3] + passed[4]) / sum(passed) if sum(passed) else 1.0)
        before = now
    return min(processors(), (os.cpu_count() or 1) * median(shares))


def _ticks() -> list[int]:
    """Time of all processors together as a user, nice, of the system, idle, waiting, and so on (``proc(5)``)."""
    first, *_ = SYSTEM_TIMES.read_text(encoding="ascii").splitlines()
    return [int(ticks) for ticks in first.split()[1:9]]
