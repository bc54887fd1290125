"""How far a network's latency as the sum of its layers lies from the whole network on the clock.

    python benchmarks/latency.py --space tiny --data digits --networks 30

Both sides are timed on one thread of this machine in onnxruntime; the networks are not those that set the table's
factor. The last line is JSON: Kendall's tau of the sums with the clock, and the ratios' median and quartiles.
"""

import argparse
import json
import tempfile
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from qnas.data.registry import find_data
from qnas.scores.ranks import kendall
from qnas.exporters.latency import LatencyTable, time_network
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import stream
from qnas.nas.search import TIMED_WHOLE
from qnas.space.space import find_space


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="digits")
    parser.add_argument("--space", default="tiny")
    parser.add_argument("--bits", nargs="+", default=["fp32", "w8a8", "w4a4", "w2a2"])
    parser.add_argument("--networks", type=int, default=30)
    options = parser.parse_args()
    torch.set_num_threads(1)
    data, rows = find_data(options.data), []
    space = find_space(options.space).for_task(data.task)
    for bits in (Bits.parse(text) for text in options.bits):
        genotypes = list(islice(stream(space, 1, bits=bits), TIMED_WHOLE + options.networks))
        plans = [build_plan(genotype, space.task) for genotype in genotypes]
        with tempfile.TemporaryDirectory() as folder:
            table = LatencyTable(Path(folder) / "latency.jsonl", lambda plans=plans: plans[:TIMED_WHOLE])
            sums = np.array([table.latency(plan) for plan in plans[TIMED_WHOLE:]])
            clock = np.array([time_network(plan) for plan in plans[TIMED_WHOLE:]])
        low, middle, high = np.quantile(sums / clock, (0.25, 0.5, 0.75)).round(2).tolist()
        rows.append({
            "bits": str(bits), "n": len(sums), "tau": round(kendall(sums, clock), 2), "ratio": middle,
            "ratio_quartiles": [low, high], "layers": len(table.times) - 1, "factor": table.times["factor"],
            "milliseconds": [round(float(clock.min()), 3), round(float(clock.max()), 3)],
        })  # fmt: skip
        print(json.dumps(rows[-1]), flush=True)
    print(json.dumps({"space": space.name, "rows": rows}))


if __name__ == "__main__":
    main()
