"""Tables of images: what was written is read, whatever separates it and whatever the columns are called."""

import csv
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qnas.data.table import FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS, SEPARATORS, Row, read_table
from qnas.errors import QnasError

TEXT = st.text(st.characters(codec="utf-8", categories=("L", "N")), min_size=1, max_size=5)


@given(
    rows=st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=4),
    names=st.tuples(*map(st.sampled_from, (FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS))),
    order=st.permutations(range(4)),
    separator=st.sampled_from(SEPARATORS),
    encoding=st.sampled_from(("utf-8", "utf-8-sig")),
    upper=st.booleans(),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Row],
    names: tuple[str, str, str],
    order: list[int],
    separator: str,
    encoding: str,
    upper: bool,
) -> None:
    table = tmp_path_factory.getbasetemp() / "table.csv"
    head = [name.upper() if upper else name for name in (*names, "note")]
    with table.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=separator)
        writer.writerows([line[place] for place in order] for line in (head, *([*row, "x"] for row in rows)))
    assert read_table(table) == (head[1], rows)


def test_without_a_column_of_parts_all_is_to_train_on(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("label;file\n\ncat;1.png\n;2.png\ndog;\n", encoding="utf-8")
    assert read_table(tmp_path / "a.csv") == ("label", [("1.png", "cat", "train"), ("2.png", "", "train")])


@pytest.mark.parametrize("text", ["", "name,value\na,1\n", "file,value\na,1\n"])
def test_a_table_of_something_else_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.csv").write_text(text, encoding="utf-8")
    assert read_table(tmp_path / "a.csv") is None


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"file,label\na\x1b[31m,b\n", "line 2 has a letter that no terminal shows"),
        (b"file,label\n\xff,b\n", "table of images"),
    ],
)
def test_a_damaged_table_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "a.csv").write_bytes(content)
    with pytest.raises(QnasError, match=told):
        read_table(tmp_path / "a.csv")
