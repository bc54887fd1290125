"""The table of trained networks: that its file reads back, with the losses of runs where they are known."""

import gzip
from dataclasses import replace
from pathlib import Path

import pytest

from qnas.errors import QnasError
from qnas.studies.benchmark_table import BenchmarkTable, load_table, save_table


def test_a_table_reads_back_and_is_the_same_bytes_again(made_up_table: BenchmarkTable, tmp_path: Path) -> None:
    first, *others = made_up_table.entries
    curves = tuple(replace(run, losses=(2.5, 0.125)) for run in first.runs)
    table = replace(made_up_table, entries=(replace(first, runs=curves), *others))
    path = save_table(tmp_path, table)
    assert load_table(path) == table
    assert save_table(tmp_path / "again", load_table(path)).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("damage", [b"", b"no gzip", gzip.compress(b"{}\n", mtime=0), gzip.compress(b"[1]\n", mtime=0)])
def test_a_damaged_table_is_one_sentence(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "truth.jsonl.gz"
    path.write_bytes(damage)
    if not damage:
        path.unlink()
    with pytest.raises(QnasError, match="cannot be read"):
        load_table(path)
