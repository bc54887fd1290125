"""How fast architectures are drawn, their parameters counted and the limit enforced: genotypes a second on one core.

    python benchmarks/sample.py --count 5000 --repeats 5

The last line is JSON.
"""

import resource
from collections import deque
from itertools import islice
from statistics import median

from common import finish, options, seconds, spread

from qnas.sampling.generator import stream
from qnas.space.space import SearchSpace, find_space


def drawing(space: SearchSpace, seed: int, count: int) -> float:
    """Seconds for so many genotypes, none of which is kept."""
    return seconds(lambda: deque(islice(stream(space, seed), count), maxlen=0))


def main() -> None:
    """Time every split of a space."""
    given = options(__doc__, space="mobile", count=(5000, "genotypes of a split"), repeats=5)
    space, rates = find_space(given.space), {}
    for split in space.splits:
        count = given.count if split != "wide" else given.count // 10
        found = [count / drawing(space.of_split(split), seed, count) for seed in range(given.repeats)]
        rates[split] = round(median(found))
        print(f"{split}: {spread(found, 0)} genotypes a second")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    finish(rates=rates, count=given.count, repeats=given.repeats, peak_mib=peak)


if __name__ == "__main__":
    main()
