"""How far a network's latency as the sum of its layers lies from the whole network on the clock.

    python benchmarks/latency.py --space tiny --data digits --networks 30

Both sides are timed on one thread of this machine in onnxruntime; the networks are not those that set the table's
factor. The last line is JSON: Kendall's tau of the sums with the clock, and the ratios' median and quartiles.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
from common import finish, load, networks, options, settle

from qnas.exporters.latency import LatencyTable, time_network
from qnas.nas.search import TIMED_WHOLE
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.scores.ranks import kendall


def main() -> None:
    """Measure and print."""
    given = options(__doc__, data="digits", space="tiny", bits=["fp32", "w8a8", "w4a4", "w2a2"], networks=30)
    settle()
    _, space = load(given.data, given.space)
    rows = []
    for bits in map(Bits.parse, given.bits):
        genotypes = networks(space, TIMED_WHOLE + given.networks, 1, bits=bits)
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
    finish(space=space.name, rows=rows)


if __name__ == "__main__":
    main()
