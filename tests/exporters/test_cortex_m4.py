"""Exported C code on an emulated Cortex-M4 of 256 KiB of flash and 64 KiB of RAM: the integer network's logits.

With `-s` it prints flash, RAM and executed instructions of the network and of its layers.
"""

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch

from qnas.exporters.c import constant_bytes, write_c
from qnas.exporters.device_profiles import find_device
from qnas.network.build import build_plan
from qnas.network.deployed import deploy
from qnas.network.grids import Grids
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.integers import integer_network
from qnas.network.module import Network
from qnas.quant.choices import GRIDS
from qnas.quant.scheme import Bits
from qnas.task import Task

COMPILER, SIZE, EMULATOR = "arm-none-eabi-gcc", "arm-none-eabi-size", "qemu-system-arm"
DEVICE = Path(__file__).parent / "cortex_m4"
LOOPS = 100_000
TASK = Task((1, 14, 14), 10, "made up", (), (70.0,), (80.0,))
pytestmark = [
    pytest.mark.export,
    pytest.mark.skipif(not all(map(shutil.which, (COMPILER, SIZE, EMULATOR))), reason="needs a compiler and QEMU"),
]


@pytest.mark.parametrize("grid", GRIDS)
@pytest.mark.parametrize("bits", ["w8a8", "w4a8", "w4a4", "w2a2"])
def test_a_small_network_runs_and_fits(bits: str, grid: str, tmp_path: Path) -> None:
    plan = build_plan(HandMade("ds_cnn", 8, Bits.parse(bits)), TASK)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.2), Grids(grid))
    network.calibrate([torch.randn(8, *TASK.image)])
    deployed = deploy(network)
    integers, pixels = integer_network(deployed, TASK), torch.randint(0, 256, (1, *TASK.image), dtype=torch.uint8)
    for name, content in write_c(deployed, TASK).items():
        (tmp_path / name).write_bytes(content)
    values = ", ".join(map(str, pixels.permute(0, 2, 3, 1).flatten().tolist()))
    (tmp_path / "step.h").write_text("void qnas_step(void);\n#define QNAS_STEP(number) qnas_step();\n")
    (tmp_path / "image.h").write_text(
        f"#define QNAS_STEPS {len(integers.steps) - 1}\nstatic const uint8_t pixels[] = {{{values}}};\n"
    )
    run(
        tmp_path, COMPILER, "-std=c99", "-O2", "-Wall", "-Wextra", "-Werror", "-mcpu=cortex-m4", "-mthumb",
        "-nostartfiles", "--specs=nosys.specs", "-I.", "-include", "step.h", "-T", str(DEVICE / "memory.ld"), "model.c",
        str(DEVICE / "device.c"), "-o", "device.elf",
    )  # fmt: skip
    flash, data, ram = map(int, run(tmp_path, SIZE, "device.elf").splitlines()[1].split()[:3])
    lines = run(
        tmp_path, EMULATOR, "-M", "mps2-an386", "-display", "none", "-monitor", "none", "-serial", "none",
        "-semihosting-config", "enable=on,target=native", "-icount", "shift=6", "-kernel", "device.elf",
    ).splitlines()  # fmt: skip
    loops, logits, ticks = (np.array(line.split(), dtype=np.int64) for line in lines)
    assert np.array_equal(logits, integers(pixels)[0])
    assert flash - constant_bytes(integers) <= find_device("cortex-m4").code
    assert flash + data < 256 * 1024
    assert constant_bytes(integers) < flash < constant_bytes(integers) + 12 * 1024
    arena = int(re.search(r"ARENA_BYTES (\d+)", (tmp_path / "model.h").read_text())[1])  # type: ignore[index]
    assert arena <= ram + data <= arena + 1024
    counts = ticks * 2 * LOOPS / loops[0]
    assert counts.min() > 0
    print(f"\n{bits}: flash {flash:,} (constants {constant_bytes(integers):,}), RAM {ram + data:,} (arena {arena:,})")
    print(f"  {'instructions':20} {counts.sum():10,.0f}")
    for step, count in zip(integers.steps[1:], counts, strict=True):
        print(f"  {step.name:20} {count:10,.0f}")


def run(folder: Path, *command: str) -> str:
    """What a command prints, on whichever stream: QEMU prints what the device says on stderr."""
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    ended = subprocess.run(command, cwd=folder, text=True, timeout=120, check=False, **streams)
    assert ended.returncode == 0, ended.stdout
    return ended.stdout
