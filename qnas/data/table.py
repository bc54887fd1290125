"""Reads a table of images: one CSV file of file names, labels and perhaps parts."""

import csv
from collections.abc import Sequence
from pathlib import Path

from qnas.errors import UNPRINTABLE
from qnas.runs.reading import MOST_JSON, check_file, reading

FILE_COLUMNS, LABEL_COLUMNS = ("file", "filename", "file_name", "image", "path"), ("label", "class", "category")
PART_COLUMNS = ("split", "part", "set")
TABLES, SEPARATORS = (".csv", ".tsv"), ",;\t"
MOST_ROWS = 1_000_000
Row = tuple[str, str, str]
"""A file's name, its label and its part."""


def _columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    """The columns of file names, labels and parts (which may be missing) of a table; nothing if it has none."""
    known = {name.strip().lower(): name for name in names}
    file_column, label, part = (
        next((known[name] for name in choices if name in known), "")
        for choices in (FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS)
    )
    return (file_column, label, part) if file_column and label else None


def read_table(table: Path) -> tuple[str, list[Row]] | None:
    """The label column of a CSV file and its rows, if it is a table of images."""
    with reading(table, "a table of images", "save it as CSV in UTF-8, or move it elsewhere"):
        check_file(table, MOST_JSON)
        try:
            with table.open(encoding="utf-8-sig", newline="") as file:
                head = file.readline()
                file.seek(0)
                lines = csv.reader(file, delimiter=max(SEPARATORS, key=head.count))
                names = next((line for line in lines if line), [])
                columns = _columns(names)
                if columns is None:
                    return None
                places = [names.index(name) if name else -1 for name in columns]
                rows = list[Row]()
                for line in lines:
                    file_name, label, part = (line[at].strip() if 0 <= at < len(line) else "" for at in places)
                    if not file_name:
                        continue
                    if len(rows) == MOST_ROWS:
                        raise ValueError(f"it has more than {MOST_ROWS:,} rows")
                    if UNPRINTABLE.search(file_name) or UNPRINTABLE.search(label):
                        raise ValueError(f"line {lines.line_num} has a letter that no terminal shows")
                    rows.append((file_name, label, part if columns[2] else "train"))
                return columns[1], rows
        except csv.Error as error:
            raise ValueError(str(error)) from error
