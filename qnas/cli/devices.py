"""Which device a command computes on."""

import torch

from qnas.errors import QnasError


def pick_device(name: str) -> torch.device:
    """``auto`` takes a CUDA device where there is one.

    Raises:
        QnasError: the device is not known or not there.
    """
    if name not in ("auto", "cpu", "cuda"):
        raise QnasError(f"--device is auto, cpu or cuda, got {name!r}; leave it out to take what the machine has.")
    there = torch.cuda.is_available()
    if name == "cuda" and not there:
        raise QnasError("--device cuda needs a CUDA device and a CUDA build of torch, neither is here; use --device cpu.")
    return torch.device("cuda" if name != "cpu" and there else "cpu")
