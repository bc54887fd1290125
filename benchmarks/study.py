"""What training networks side by side saves, beside training them one at a time (``qnas study init``).

    python benchmarks/study.py --preset quick

For every network of a preset, updates of all initializers' networks together and of a single one are timed in turn, on
the clock of the processor, so that other work on the machine counts little; the fastest of ``--repeats`` counts.
Prints a line a network; the last line is JSON: milliseconds an update and network of both, their ratio, and its
geometric mean.
"""

import time
from statistics import geometric_mean

from common import finish, options, settle, timed

from qnas.data.images import shrunk
from qnas.data.registry import find_data
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.initializers import INITIALIZERS
from qnas.network.stack import Stack
from qnas.studies.init_runs import initial_parameters
from qnas.studies.init_settings import BLOCKS, find_preset
from qnas.training.plain import PlainTraining


def main() -> None:
    """Time all networks of a preset."""
    given = options(
        __doc__, data="fashion", preset=("quick", "of qnas study init"), blocks=([], "networks; the preset's if empty"),
        width=(0, "channels of the first layers; the preset's if 0"), updates=(2, "a timing"), repeats=4,
    )  # fmt: skip
    settle()
    settings = find_preset(given.preset)
    data = shrunk(find_data(given.data), settings.shrink)
    rows = []
    for block in given.blocks or settings.blocks:
        design, batch_norm = BLOCKS[block]
        plan = build_plan(HandMade(design, given.width or settings.width, batch_norm=batch_norm), data.task)
        several = [initial_parameters(plan, name, 0) for name in INITIALIZERS]
        runs = [PlainTraining(Stack(plan, part), data, settings.protocol, 0) for part in (several, several[:1])]
        for run in runs * 2:
            run.step()

        def updates(run: PlainTraining) -> None:
            for _ in range(given.updates):
                run.step()

        pairs = [[timed(lambda: updates(run), time.process_time)[1] for run in runs] for _ in range(given.repeats)]  # noqa: B023
        together, alone = (1e3 * min(column) / given.updates for column in zip(*pairs, strict=True))
        rows.append({"block": block, "together": together / len(several), "alone": alone})
        rows[-1]["ratio"] = alone / rows[-1]["together"]
        print(f"{block}: {alone:.1f} ms alone, {rows[-1]['together']:.1f} ms side by side, {rows[-1]['ratio']:.2f} x")
    ratio = geometric_mean([row["ratio"] for row in rows])
    batch = settings.protocol.batch
    finish(preset=given.preset, batch=batch, networks=len(INITIALIZERS), n=given.repeats, rows=rows, ratio=ratio)


if __name__ == "__main__":
    main()
