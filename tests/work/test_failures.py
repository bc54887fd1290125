"""What fails by itself: which errors count as a lack of memory, and that too many failures in a row stop a run."""

import logging

import pytest
import torch

from qnas.errors import QnasError
from qnas.work.failures import MOST_FAILED, Failed, Failures, memory_may_lack


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you"),
    ],
)
def test_a_lack_of_memory_is_a_failure(error: Exception) -> None:
    with pytest.raises(Failed, match=r"^out of memory$"), memory_may_lack():
        raise error


def test_what_torch_itself_raises_without_memory_is_one() -> None:
    with pytest.raises(Failed, match="out of memory"), memory_may_lack():
        torch.empty(1 << 60, dtype=torch.uint8)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_may_lack():
        raise RuntimeError("shapes differ")


def test_failures_are_said_and_only_those_in_a_row_stop_a_run(caplog: pytest.LogCaptureFixture) -> None:
    failures = Failures()
    with caplog.at_level(logging.WARNING, "qnas"):
        for place in range(3 * MOST_FAILED):
            failures.note("a", "" if place % MOST_FAILED == 0 else "out of memory")
    assert caplog.messages == ["a failed (out of memory); the run goes on without it."] * 3 * (MOST_FAILED - 1)
    with pytest.raises(QnasError, match=f"{MOST_FAILED} networks in a row did, the last one b \\(no number\\)"):
        failures.note("b", "no number")
