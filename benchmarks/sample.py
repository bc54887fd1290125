"""How fast architectures are drawn, their parameters counted and the limit enforced: genotypes a second on one core.

Ends with one line of JSON.

    python benchmarks/sample.py --count 5000 --repeats 5
"""

import argparse
import json
import resource
import time
from itertools import islice
from statistics import median

from qnas.sampling.generator import stream
from qnas.space.space import find_space


def main() -> None:
    """Time every split of a space."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--space", default="mobile")
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    space = find_space(options.space)
    rates = {}
    for split in ("id", *space.overrides):
        count = options.count if split != "wide" else options.count // 10
        seconds = []
        for seed in range(options.repeats):
            started = time.perf_counter()
            for _ in islice(stream(space.of_split(split), seed), count):
                pass
            seconds.append(time.perf_counter() - started)
        rates[split] = round(count / median(seconds))
        print(f"{split}: {rates[split]} genotypes a second, {count / max(seconds):.0f} to {count / min(seconds):.0f}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({"rates": rates, "count": options.count, "repeats": options.repeats, "peak_mib": peak}))


if __name__ == "__main__":
    main()
