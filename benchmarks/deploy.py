"""A network in onnxruntime and as C code on this processor: time, size and memory.

    python benchmarks/deploy.py --network resnet8 --bits w8a8 w4a8 w4a4 w2a2

The network has random weights, for 3 x 32 x 32 images. Times are those of the processor, on one thread, one image at a
time, in milliseconds: the median of several rounds, in which onnxruntime and the code take turns. The code is compiled
with -O3, and with -O3 -march=native; it has no intrinsics. The last line is JSON.
"""

import json
import resource
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import torch
from common import finish, options, settle, spread
from onnx import ModelProto

from qnas.errors import QnasError
from qnas.exporters.c import constant_bytes, write_c
from qnas.exporters.compiled import FLAGS, compiled, find_compiler
from qnas.exporters.latency import session
from qnas.exporters.onnx import INPUT, write_onnx
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.network.deployed import DeployedNetwork, deploy
from qnas.network.handmade import HandMade
from qnas.network.initial import he_parameters
from qnas.network.integers import integer_network
from qnas.network.memory import Layout
from qnas.network.module import Network
from qnas.quant.scheme import Bits
from qnas.task import Task

TASK = Task((3, 32, 32), 10, "made up", (), (125.0, 120.0, 110.0), (63.0, 62.0, 66.0))
NATIVE = "-march=native"


def network_of(name: str, width: int, bits: Bits) -> DeployedNetwork:
    """A hand-made network of random weights, calibrated."""
    plan = build_plan(HandMade(name, width, bits), TASK)
    network = Network(plan, he_parameters(plan, torch.Generator().manual_seed(0)), (-2.0, 2.2))
    network.calibrate([torch.randn(32, *TASK.image, generator=torch.Generator().manual_seed(1))])
    return deploy(network)


def in_onnxruntime(model: ModelProto, count: int) -> Callable[[], float]:
    """Milliseconds of one image, over so many."""
    runner, image = session(model), {INPUT: torch.randn(1, *TASK.image).numpy()}

    def once() -> float:
        started = time.process_time()
        for _ in range(count):
            runner.run(None, image)
        return (time.process_time() - started) / count * 1000

    return once


def in_c(program: Path, count: int) -> Callable[[], float]:
    """The same of a compiled program, reading and printing included."""
    raw = torch.randint(0, 256, (count, 32, 32, 3), dtype=torch.uint8).numpy().tobytes()

    def once() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
        subprocess.run([program], input=raw, stdout=subprocess.DEVNULL, check=True)
        return (resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before) / count * 1000

    return once


def main() -> None:
    """Measure and print."""
    given = options(
        __doc__, bits=["w8a8", "w4a8", "w4a4", "w2a2"], network=("resnet8", "hand-made network"),
        width=(16, "its channels"), images=(100, "of a round"), repeats=7,
    )  # fmt: skip
    settle()
    compiler, rows = find_compiler(), []
    if compiler is None:
        raise QnasError("The benchmark needs a C compiler; set the variable CC to one.")
    for bits in map(Bits.parse, given.bits):
        network = network_of(given.network, given.width, bits)
        model, files, spent = write_onnx(network), write_c(network, TASK), costs(network.plan)
        integers = integer_network(network, TASK)
        with tempfile.TemporaryDirectory() as place:
            clocks = {"onnxruntime": in_onnxruntime(model, given.images)}
            for name, flags in (("c", ()), ("c_native", (NATIVE,))):
                folder = Path(place) / name
                folder.mkdir()
                clocks[name] = in_c(compiled(files, compiler, folder, (*FLAGS, "-O3", *flags)), given.images)
            times: dict[str, list[float]] = {name: [] for name in clocks}
            for _ in range(given.repeats):
                for name, clock in clocks.items():
                    times[name].append(clock())
        row = {
            "bits": str(bits),
            **{f"{name}_milliseconds": round(median(found), 3) for name, found in times.items()},
            "spreads": {name: spread(found) for name, found in times.items()},
            "onnx_bytes": len(model.SerializeToString()), "constant_bytes": constant_bytes(integers),
            "weight_bytes": spent.weight_bytes, "arena_bytes": Layout.of(integers.steps).arena,
            "activation_bytes": spent.activation_bytes,
        }  # fmt: skip
        rows.append(row)
        print(json.dumps(row), flush=True)
    finish(network=given.network, width=given.width, n=given.repeats, images=given.images, rows=rows)


if __name__ == "__main__":
    main()
