"""Runs exported C code on an emulated Cortex-M4 of 256 KiB of flash and 64 KiB of RAM, and counts what it executes.

Counts are those of an emulator's instructions, which are the same every time, and not of a board's cycles.
"""

import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor

from qnas.errors import QnasError
from qnas.exporters.c import SOURCE
from qnas.quant.fixed_point import Integers

COMPILER, SIZE, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
TOOLS = "Debian has them in gcc-arm-none-eabi, libnewlib-arm-none-eabi and qemu-system-arm"
DEVICE = Path(__file__).with_name("cortex_m4")
FLAGS = (
    "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-mcpu=cortex-m4", "-mthumb", "-nostartfiles",
    "-specs=nosys.specs", "-I.", "-include", "step.h",
)  # fmt: skip
MACHINE = (
    "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none",
    "-semihosting-config", "enable=on,target=native", "-icount", "shift=4",
)  # fmt: skip
"""The clock goes on by 16 ns an instruction, so that its timer of 24 bits holds 40 million of them a layer."""
LOOPS = 100_000
"""Turns of two instructions that ``device.c`` begins with: they say how often the timer ticks in an instruction."""
LONGEST = 300


class Emulated(NamedTuple):
    """What a network takes: bytes of code and constants, bytes of static memory, logits (classes,), instructions.

    ``instructions`` are of one image, a layer each, the first after the image.
    """

    flash: int
    ram: int
    logits: Integers
    instructions: tuple[int, ...]


def can_emulate() -> bool:
    """Whether compiler and emulator are there."""
    return all(map(shutil.which, (COMPILER, SIZE, EMULATOR)))


def emulated(files: dict[str, bytes], pixels: Tensor) -> Emulated:
    """Compile exported C code for the device and run it.

    Args:
        files: of the export, by name.
        pixels: one image (1, channels, height, width), uint8.

    Raises:
        QnasError: compiler or emulator are missing; the code does not compile, does not fit or does not end.
    """
    values = ", ".join(map(str, pixels.permute(0, 2, 3, 1).flatten().tolist()))
    steps = len(re.findall(rb"^    QNAS_STEP", files[SOURCE], re.MULTILINE))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file, content in files.items():
            (folder / file).write_bytes(content)
        (folder / "step.h").write_text("void qnas_step(void);\n#define QNAS_STEP(number) qnas_step();\n")
        (folder / "image.h").write_text(f"#define QNAS_STEPS {steps}\nstatic const uint8_t pixels[] = {{{values}}};\n")
        _run(folder, COMPILER, *FLAGS, "-T", DEVICE / "memory.ld", SOURCE, DEVICE / "device.c", "-o", "device.elf")
        flash, data, ram = map(int, _run(folder, SIZE, "device.elf").splitlines()[1].split()[:3])
        lines = _run(folder, EMULATOR, *MACHINE, "-kernel", "device.elf").splitlines()
    loops, logits, ticks = (np.array(line.split(), dtype=np.int64) for line in lines)
    counts = np.rint(ticks * 2 * LOOPS / loops[0]).astype(int).tolist()
    return Emulated(flash + data, ram + data, logits, tuple(counts))


def _run(folder: Path, *command: str | Path) -> str:
    """What a command prints, on whichever stream: the emulator prints what the device says on stderr."""
    try:
        ended = subprocess.run(
            command,
            cwd=folder,
            text=True,
            timeout=LONGEST,
            check=False,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise QnasError(f"An emulated device needs {command[0]}, which cannot be run ({error}); {TOOLS}.") from error
    except subprocess.TimeoutExpired as error:
        raise QnasError(
            f"Exported code ends within {LONGEST} s in the emulator, and this did not; take a smaller network."
        ) from error
    if ended.returncode:
        raise QnasError(
            f"Exported code runs on the emulated device, but {command[0]} ended with {ended.stdout[-500:]!r}; take a "
            "network of fewer bytes."
        )
    return ended.stdout
