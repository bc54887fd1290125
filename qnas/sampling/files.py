"""Genotypes as JSON lines, streamed in bounded memory."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from qnas.space.genotype import Genotype

REPORT_EVERY = 500


def write_genotypes(genotypes: Iterable[Genotype], path: Path | None, report: Callable[[int], None]) -> None:
    """Write one JSON line a genotype, to a file that takes its name when it is complete, or to stdout."""
    if path is None:
        for genotype in genotypes:
            sys.stdout.write(json.dumps(genotype.to_json(), separators=(",", ":")) + "\n")
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8") as file:
        for done, genotype in enumerate(genotypes, 1):
            file.write(json.dumps(genotype.to_json(), separators=(",", ":")) + "\n")
            if done % REPORT_EVERY == 0:
                report(done)
    os.replace(part, path)
