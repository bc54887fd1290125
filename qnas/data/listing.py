"""Which image files a folder holds, of which class and part, and what is left out and why.

A folder may have parts, ``train``, ``val`` and ``test`` in any case, each with class folders; or class folders alone;
or a table, one CSV file of names and labels.
"""

import csv
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qnas.errors import UNPRINTABLE, QnasError, printable, shown
from qnas.runs.reading import MOST_JSON, check_file, reading

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".gif", ".tif", ".tiff")
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders of parts are called, in small letters."""
NEVER = ("__macosx", "thumbs.db", "desktop.ini")
"""Files and folders of operating systems; those whose names begin with a dot count as little."""
FILE_COLUMNS, LABEL_COLUMNS = ("file", "filename", "image", "path"), ("label", "class", "category")
PART_COLUMNS = ("split", "part", "set")
FEWEST = 10
"""Images a class needs, so that each part of the data gets some."""
EXAMPLES = 3
MOST_FILES, MOST_MISSING = 1_000_000, 1_000
"""Rows of a table, and rows without a file after which no others are looked for."""
Entry = tuple[Path, int]
"""A file and the number of its class."""
Row = tuple[str, str, str]
"""A file's name, its label and its part, of a table."""


@dataclass
class Listing:
    """What a folder holds.

    Args:
        folder: that was looked at.
        classes: names, in the order of their numbers.
        parts: entries of ``train`` and, where the folder has them, ``validation`` and ``test``.
        left_out: files that are not read, by the reason.
    """

    folder: Path
    classes: tuple[str, ...] = ()
    parts: dict[str, list[Entry]] = field(default_factory=dict)
    left_out: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))

    def remarks(self) -> list[str]:
        """Sentences on how the folder was read: its parts, and how many files are left out for which reason."""
        counts = ", ".join(f"{len(entries)} to {_VERBS[part]}" for part, entries in self.parts.items())
        found = [f"{len(self.classes)} classes; {counts}."] if len(self.parts) > 1 else []
        for reason, files in self.left_out.items():
            names = ", ".join(printable(str(path.relative_to(self.folder))) for path in files[:EXAMPLES])
            more = ", ..." if len(files) > EXAMPLES else ""
            found.append(f"Left out, {reason}: {len(files)} ({names}{more}).")
        return found


_VERBS = {"train": "train on", "validation": "score on", "test": "test on"}


def list_images(folder: Path) -> Listing:
    """List the images of a folder.

    Raises:
        QnasError: fewer than two classes, too few images of one, a part without classes or with others, or a table that
            cannot be used.
    """
    found, top = Listing(folder), _own(folder)
    tables = [path for path in top if path.is_file() and path.suffix.lower() == ".csv"]
    divided = {PARTS[path.name.lower()]: path for path in top if path.is_dir() and path.name.lower() in PARTS}
    rows = _read(tables[0]) if len(tables) == 1 and "train" not in divided else None
    if "train" in divided:
        _list_parts(found, divided, [path for path in top if path not in divided.values()])
    elif rows is not None:
        _list_table(found, tables[0], *rows)
    else:
        found.classes = _class_names(folder)
        found.parts["train"] = _list_classes(found, folder)
        found.left_out["in no class folder"] += [path for path in top if path.is_file()]
    found.left_out = {reason: sorted(files) for reason, files in found.left_out.items() if files}
    _check_counts(found)
    return found


def _list_parts(found: Listing, divided: dict[str, Path], others: list[Path]) -> None:
    found.classes = _class_names(divided["train"])
    for part in ("train", "validation", "test"):
        if part not in divided:
            continue
        names = {path.name for path in _own(divided[part]) if path.is_dir()}
        if not names:
            images = sum(path.suffix.lower() in ENDINGS for path in _own(divided[part]))
            raise QnasError(
                f"{divided[part]} has {images} images and no class folders, so nothing can be told of them; sort them "
                "into class folders, or move the folder elsewhere."
            )
        if foreign := sorted(names - set(found.classes)):
            raise QnasError(
                f"{divided[part]} has classes that {divided['train']} lacks, got {', '.join(foreign[:EXAMPLES])}; "
                "rename or remove them."
            )
        found.parts[part] = _list_classes(found, divided[part])
        found.left_out["in no class folder"] += [path for path in _own(divided[part]) if path.is_file()]
    found.left_out["in none of the parts"] += [inner for path in others for inner in _files(path)]


def _list_classes(found: Listing, folder: Path) -> list[Entry]:
    """The images below each class folder, in order, however deep."""
    entries = []
    for label, name in enumerate(found.classes):
        for path in sorted(_files(folder / name)) if (folder / name).is_dir() else ():
            if path.suffix.lower() in ENDINGS:
                entries.append((path, label))
            else:
                found.left_out["no image by their endings"].append(path)
    return entries


def _columns(names: Sequence[str]) -> tuple[str, str, str] | None:
    """The columns of file names, labels and parts (which may be missing) of a table; nothing if it has none."""
    known = {name.strip().lower(): name for name in names}
    file_column, label, part = (
        next((known[name] for name in choices if name in known), "")
        for choices in (FILE_COLUMNS, LABEL_COLUMNS, PART_COLUMNS)
    )
    return (file_column, label, part) if file_column and label else None


def _read(table: Path) -> tuple[str, list[Row]] | None:
    """The label column of a CSV file and its rows, if it is a table of images."""
    with reading(table, "a table of images", "save it as CSV in UTF-8, or move it elsewhere"):
        check_file(table, MOST_JSON)
        try:
            with table.open(encoding="utf-8-sig", newline="") as file:
                lines = csv.reader(file)
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
                    if len(rows) == MOST_FILES:
                        raise ValueError(f"it has more than {MOST_FILES:,} rows")
                    if UNPRINTABLE.search(file_name) or UNPRINTABLE.search(label):
                        raise ValueError(f"line {lines.line_num} has a letter that no terminal shows")
                    rows.append((file_name, label, part.lower() if columns[2] else "train"))
                return columns[1], rows
        except csv.Error as error:
            raise ValueError(str(error)) from error


def _list_table(found: Listing, table: Path, label_column: str, rows: list[Row]) -> None:
    found.classes = tuple(sorted({label for _, label, _ in rows} - {""}))
    if len(found.classes) < 2:
        raise QnasError(
            f"A table of images needs at least two classes in its column {label_column!r}, got {len(found.classes)} in "
            f"{table}; correct it."
        )
    numbers, folder = {name: number for number, name in enumerate(found.classes)}, found.folder.resolve()
    lines: dict[str, list[Entry]] = defaultdict(list)
    missing, listed = [], set()
    for file_name, label, part_name in rows:
        path, part = found.folder / file_name, PARTS.get(part_name, "")
        if not path.is_file() or not path.resolve().is_relative_to(folder):
            missing.append(file_name)
        elif not label or not part:
            found.left_out["no label or part in the table"].append(path)
        else:
            lines[part].append((path, numbers[label]))
        listed.add(path)
        if len(missing) == MOST_MISSING:
            break
    if missing:
        more = " or more" if len(missing) == MOST_MISSING else ""
        raise QnasError(
            f"Every file of {table} lies in its folder, but {len(missing)}{more} do not, such as {shown(missing[0])}; "
            "correct the table, or put them there."
        )
    found.parts = {part: lines[part] for part in ("train", "validation", "test") if part in lines}
    others = [path for path in _files(found.folder) if path not in listed and path != table]
    found.left_out["not in the table"] += others


def _check_counts(found: Listing) -> None:
    for part, entries in found.parts.items():
        counts = [0] * len(found.classes)
        for _, label in entries:
            counts[label] += 1
        fewest = FEWEST if part == "train" else 1
        if min(counts) < fewest:
            where = found.folder if len(found.parts) == 1 else f"the {part} part of {found.folder}"
            name = found.classes[counts.index(min(counts))]
            raise QnasError(
                f"Each class needs at least {fewest} images ({', '.join(ENDINGS)}), got {min(counts)} of {name!r} in "
                f"{where}; add some, or remove the class."
            )
    if "train" not in found.parts:
        raise QnasError(f"There are images to train on, got none in {found.folder}; correct its table.")


def _class_names(folder: Path) -> tuple[str, ...]:
    names = tuple(path.name for path in _own(folder) if path.is_dir())
    if len(names) < 2:
        raise QnasError(
            f"An image folder needs one folder for each of at least two classes, got {len(names)} in {folder}; "
            "sort the images into folders named after their classes."
        )
    if bad := [name for name in names if UNPRINTABLE.search(name)]:
        raise QnasError(f"Classes have names that a terminal shows, got {shown(bad[0])} in {folder}; rename it.")
    return names


def _own(folder: Path) -> list[Path]:
    """What lies in a folder, in order, but for what belongs to an operating system."""
    return sorted(path for path in folder.iterdir() if _counts(path.name))


def _files(path: Path) -> Iterator[Path]:
    """All files at or below a path, likewise; links to folders within it lead out of it, or round in circles."""
    if path.is_file():
        yield path
    for folder, inner, names in os.walk(path):
        inner[:] = [name for name in inner if _counts(name)]
        yield from (file for name in names if _counts(name) and (file := Path(folder, name)).is_file())


def _counts(name: str) -> bool:
    """Whether a name is none of an operating system's."""
    return name[0] != "." and name.lower() not in NEVER
