"""Trained networks in every container that holds them, on the same test images: right classes, and torch's classes.

    python benchmarks/containers.py --winners runs/a/winner runs/b/winner

A container that does not hold a network, or whose runtime is not installed, is named with the reason. C equals the
integer network to the bit on every image, else it is an error. ``--emulate 100`` also runs so many of the images on an
emulated Cortex-M4. The last line is JSON.
"""

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import finish, options, settle

from qnas.data.images import DataSet
from qnas.data.registry import find_data
from qnas.errors import QnasError
from qnas.exporters.c import write_c
from qnas.exporters.emulated import emulated
from qnas.exporters.parity import integers_of
from qnas.exporters.registry import PROFILES, Profile, check_runs
from qnas.exporters.winner import load_winner
from qnas.network.deployed import DeployedNetwork, deploy


def row_of(profile: Profile, network: DeployedNetwork, data: DataSet, images: int) -> dict[str, Any]:
    """How a network in a container compares on the first so many test images, or why it does not."""
    started = time.perf_counter()
    try:
        check_runs(profile)
        files = profile.write(network, data.task, pixels=False)
        parity = profile.compare(files, network, data.test.first(images))
    except QnasError as error:
        return {"profile": profile.name, "refused": str(error)}
    found = {key: round(value, 6) if isinstance(value, float) else value for key, value in parity.to_json().items()}
    size, took = len(files[profile.file]), round(time.perf_counter() - started, 1)
    return {"profile": profile.name, **found, "file_bytes": size, "seconds": took}


def emulated_row(network: DeployedNetwork, data: DataSet, images: int) -> dict[str, Any]:
    """How often C on an emulated Cortex-M4 has the integer network's logits and torch's class, and what it takes."""
    try:
        files, part = write_c(network, data.task), data.test.first(images)
        integers, classes = integers_of(network, part), network(part.batch(slice(None))[0]).argmax(1)
        runs = [emulated(files, one) for one in part.pixels.split(1)]
    except QnasError as error:
        return {"profile": "emulated", "refused": str(error)}
    same = [np.array_equal(run.logits, wanted) for run, wanted in zip(runs, integers(part.pixels), strict=True)]
    agree = [int(run.logits.argmax()) == int(wanted) for run, wanted in zip(runs, classes, strict=True)]
    spent = {"flash": runs[0].flash, "ram": runs[0].ram, "instructions": sum(runs[0].instructions)}
    return {"profile": "emulated", "images": images, "same_logits": sum(same), "same_class": sum(agree), **spent}


def main() -> None:
    """Measure and print."""
    given = options(
        __doc__, winners=([], "folders of trained networks"), images=(10_000, "of the test images"),
        profiles=(list(PROFILES), "containers"), emulate=(0, "images on an emulated Cortex-M4"),
    )  # fmt: skip
    settle()
    rows = []
    for folder in given.winners:
        winner = load_winner(Path(folder))
        data = find_data(winner.facts["settings"]["data"])
        network, named = deploy(winner), {"network": winner.genotype.key, "grid": winner.grids.name}
        for name in given.profiles:
            rows.append({**named, **row_of(PROFILES[name], network, data, given.images)})
            print(json.dumps(rows[-1]), flush=True)
        if given.emulate:
            rows.append({**named, **emulated_row(network, data, given.emulate)})
            print(json.dumps(rows[-1]), flush=True)
    finish(images=given.images, rows=rows)


if __name__ == "__main__":
    main()
