"""Runs exported C code on this machine, and holds it against the integer network and against torch."""

import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from qnas.data.images import Images
from qnas.errors import QnasError
from qnas.exporters.c import EXAMPLE, SOURCE
from qnas.exporters.parity import Parity, held_against, integers_of
from qnas.network.deployed import DeployedNetwork
from qnas.quant.fixed_point import Integers

log = logging.getLogger("qnas")
FLAGS = ("-std=c99", "-O2", "-Wall", "-Wextra", "-Werror")
COMPILERS = ("cc", "gcc", "clang")


def find_compiler() -> str | None:
    """The C compiler that `CC` names, or one of ``COMPILERS``, if there is one."""
    return next(
        (path for name in (os.environ.get("CC", ""), *COMPILERS) if name and (path := shutil.which(name))), None
    )


def compiled(files: dict[str, bytes], compiler: str, folder: Path, flags: Sequence[str] = FLAGS) -> Path:
    """The example of exported C code as a program in a folder.

    Raises:
        QnasError: it does not compile.
    """
    for name, content in files.items():
        (folder / name).write_bytes(content)
    program = folder / "classify"
    command = [compiler, *flags, SOURCE, EXAMPLE, "-o", program.name]
    ended = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise QnasError(
            f"Exported code compiles with any compiler of C99, but {' '.join(command)} ended with "
            f"{ended.stderr.strip()[:500]!r}; set the variable CC to another compiler."
        )
    return program


def classified(program: Path, pixels: Tensor) -> tuple[Integers, Integers]:
    """Classes (n,) and logits (n, classes) of images (n, channels, height, width), uint8, by a compiled program.

    Raises:
        QnasError: it ended with an error.
    """
    raw = pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    ended = subprocess.run([program], input=raw, capture_output=True, check=False)
    if ended.returncode:
        raise QnasError(
            f"Exported code runs to its end, but {program.name} ended with {ended.returncode}: "
            f"{ended.stderr.decode(errors='replace')[:500]!r}; set the variable CC to another compiler."
        )
    rows = np.array([line.split() for line in ended.stdout.splitlines()], dtype=np.int64)
    return rows[:, 0], rows[:, 1:]


def compare_c(files: dict[str, bytes], network: DeployedNetwork, images: Images, compiler: str | None = None) -> Parity:
    """Compile C code, run it on images, and hold it against the integer network, bit for bit, and against torch.

    Without a compiler here the integer network stands for the code, and the comparison says so.

    Args:
        files: of the export, by name.
        network: that it was written from.
        images: that all see.
        compiler: the one that is found, if none is given.

    Raises:
        QnasError: the code does not compile, or gives other logits than the integer network.
    """
    integers = integers_of(network, images)
    expected, compiler = integers(images.pixels), compiler or find_compiler()
    if compiler is None:
        log.warning("No C compiler is found here: the code was not run, its integers were computed in Python.")
        return held_against(network, images, expected * integers.scale, "integers", np.__version__)
    with tempfile.TemporaryDirectory() as folder:
        _, logits = classified(compiled(files, compiler, Path(folder)), images.pixels)
    wrong = int((logits != expected).any(1).sum()) if logits.shape == expected.shape else len(expected)
    if wrong:
        raise QnasError(
            f"Compiled code gives the integer network's logits, but with {compiler} {wrong} of {len(expected)} images "
            "have others; set the variable CC to another compiler."
        )
    return held_against(network, images, logits * integers.scale, "c", version_of(compiler))


def version_of(compiler: str) -> str:
    """A compiler's name and version."""
    ended = subprocess.run([compiler, "-dumpversion"], capture_output=True, text=True, check=False)
    return f"{Path(compiler).name} {ended.stdout.strip()}".strip()
