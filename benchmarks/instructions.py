"""What a turn of each loop of the exported C code takes on a Cortex-M4: fitted to an emulator's counts, layer by layer.

    python benchmarks/instructions.py --networks 40 --out runs/instructions.jsonl --write

Random networks of three spaces and hand-made ones, at all widths, are compiled and run on the emulated device; rows in
the file are not measured again. Every second network is fitted to, the others are what the sum over layers is held
against: the last line is JSON, the share of their networks and layers within 10 %, and the median and largest error.
``--write`` writes the table that ``qnas.network.instructions`` reads.
"""

import json
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import finish, options, random_networks, settle
from scipy.optimize import nnls

import qnas
from qnas.errors import QnasError
from qnas.exporters.c import function_of, write_c
from qnas.exporters.emulated import TOOLS, can_emulate, emulated
from qnas.nas.limits import Limits
from qnas.network.build import Architecture, build_plan
from qnas.network.deployed import deploy
from qnas.network.grids import Grids
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.instructions import TABLE, layer_counts, spent
from qnas.network.integers import integer_network
from qnas.network.module import Network
from qnas.runs.files import append_row, read_rows, write_bytes
from qnas.space.space import find_space
from qnas.task import Task

SPACES = {"fashion": "fashion", "mobile-small": "fashion", "cifar": "cifar"}
"""Spaces, and the data whose images their networks see: of one channel, and of three."""
IMAGES = {
    "fashion": Task((1, 28, 28), 10, "", (), (70.0,), (80.0,)),
    "cifar": Task((3, 32, 32), 10, "", (), (120.0,) * 3, (60.0,) * 3),
}
LIMITS = Limits(weight_bytes=100_000, activation_bytes=24_000, macs=3_000_000)
WITHIN = 0.1


def main() -> None:
    """Count, fit, compare."""
    given = options(
        __doc__, networks=40, bits=["w8a8", "w4a8", "w4a4", "w2a2"], out=Path("runs/instructions.jsonl"),
        write=(False, "write the table"),
    )  # fmt: skip
    if not can_emulate():
        raise SystemExit(f"This needs a compiler for the Cortex-M4 and QEMU; {TOOLS}.")
    settle()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    rows = {row["network"]: row for row in read_rows(given.out)}
    for task, architecture in networks(given.networks, [qnas.Bits.parse(bits) for bits in given.bits]):
        if (name := f"{architecture.key}/{'x'.join(map(str, task.image))}") not in rows:
            rows[name] = {"network": name, "layers": counted(architecture, task)}
            append_row(given.out, rows[name])
            print(name, sum(layer["instructions"] for layer in rows[name]["layers"]), flush=True)
    fitted_to = [row for place, row in enumerate(rows.values()) if place % 2 == 0]
    others = [row for place, row in enumerate(rows.values()) if place % 2]
    prices = fitted([layer for row in fitted_to for layer in row["layers"]])
    if given.write:
        write_bytes(TABLE, f"{json.dumps(prices, indent=1)}\n".encode())
    finish(fitted_to=len(fitted_to), **judged(prices, others))


def networks(count: int, widths: list[qnas.Bits]) -> Iterator[tuple[Task, Architecture]]:
    """Hand-made and random networks, a few of each at a time, so that every second one is one of all kinds."""
    for bits, (name, width) in product(widths, (("resnet8", 6), ("ds_cnn", 16), ("resnet8", 8), ("ds_cnn", 24))):
        for task in IMAGES.values():
            yield task, HandMade(name, width, bits)
    for place, (of, images) in enumerate(SPACES.items()):
        task = IMAGES[images]
        drawn = random_networks(find_space(of).for_task(task), LIMITS, widths[0], place)
        for number, genotype in enumerate(islice(drawn, count)):
            yield task, genotype.with_bits(widths[number % len(widths)])


def counted(architecture: Architecture, task: Task) -> list[dict[str, Any]]:
    """The layers of a network: kernel, turns of loops, and the instructions that the emulator counts."""
    plan = build_plan(architecture, task)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.2), Grids("per-channel"))
    network.calibrate([torch.randn(8, *task.image)])
    deployed = deploy(network)
    pixels = torch.randint(0, 256, (1, *task.image), dtype=torch.uint8)
    try:
        device = emulated(write_c(deployed, task), pixels)
    except QnasError as error:
        print(f"{architecture.key} is left out: {error}", flush=True)
        return []
    steps, counts = integer_network(deployed, task).steps[1:], layer_counts(plan)
    assert [function_of(step) for step in steps] == [kernel for _, kernel, _ in counts]
    return [
        {"kernel": kernel, "turns": dict(turns), "instructions": count}
        for (_, kernel, turns), count in zip(counts, device.instructions, strict=True)
    ]


def fitted(layers: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Instructions a turn, none negative, with which relative errors are least, by kernel and loop."""
    kinds = defaultdict(list)
    for layer in layers:
        kinds[layer["kernel"]].append(layer)
    prices = {}
    for kernel, own in sorted(kinds.items()):
        loops = sorted({loop for layer in own for loop in layer["turns"]})
        turns = np.array([[layer["turns"].get(loop, 0) / layer["instructions"] for loop in loops] for layer in own])
        found, _ = nnls(turns, np.ones(len(own)))
        prices[kernel] = {loop: round(float(price), 4) for loop, price in zip(loops, found, strict=True) if price > 0}
    return prices


def judged(prices: dict[str, dict[str, float]], rows: list[dict[str, Any]]) -> dict[str, Any]:
    """How far sums lie from what was counted."""
    errors: dict[str, list[float]] = defaultdict(list)
    for row in rows:
        told = [spent(prices.get(layer["kernel"], {}), layer["turns"]) for layer in row["layers"]]
        counts = [layer["instructions"] for layer in row["layers"]]
        for layer, one, count in zip(row["layers"], told, counts, strict=True):
            errors[layer["kernel"]].append(one / count - 1)
        if counts:
            errors["networks"].append(sum(told) / sum(counts) - 1)
    result: dict[str, Any] = {}
    for name, those in sorted(errors.items()):
        sizes = np.abs(those)
        result[name] = {
            "n": len(those), "within": float((sizes <= WITHIN).mean()), "median": float(np.median(sizes)),
            "largest": float(sizes.max()), "mean": float(np.mean(those)),
        }  # fmt: skip
    return result


if __name__ == "__main__":
    main()
