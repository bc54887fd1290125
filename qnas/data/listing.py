"""Which image files a folder holds, of which class and part, and what is left out and why.

A folder may have parts, ``train``, ``val`` and ``test`` in any case and spelling, each with class folders; or class
folders alone; or a table, one CSV file of names and labels.
"""

import os
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qnas.data.table import FILE_COLUMNS, LABEL_COLUMNS, TABLES, Row, read_table
from qnas.errors import UNPRINTABLE, QnasError, printable, shown

ENDINGS = (
    ".png", ".jpg", ".jpeg", ".jfif", ".bmp", ".webp", ".avif", ".ppm", ".pgm", ".gif", ".tif", ".tiff",
)  # fmt: skip
PARTS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
"""What folders of parts are called, in small letters and without ``PART_TAIL``."""
PART_TAIL = re.compile(r"[ _.-]*(set|data|images|split)?$")
NEVER = ("__macosx", "thumbs.db", "desktop.ini")
"""Files and folders of operating systems; those whose names begin with a dot count as little."""
FEWEST = 10
"""Images a class needs, so that each part of the data gets some."""
EXAMPLES = 3
PHOTOS = (".heic", ".heif", ".jxl", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2")
"""Endings of photos that Pillow does not read."""
NO_IMAGE, UNREAD = "no image by their endings", "photos of a kind that is not read, to be converted to JPEG or PNG"
"""Why files are left out whose endings are none of ``ENDINGS``, of ``PHOTOS`` and others."""
MOST_CLASSES, MOST_FILES, MOST_MISSING = 1_000, 1_000_000, 1_000
"""Classes, files or rows of a table, and rows without a file after which no others are looked for."""
Entry = tuple[Path, int]
"""A file and the number of its class."""


@dataclass
class Listing:
    """What a folder holds.

    Args:
        folder: that was looked at.
        classes: names, in the order of their numbers.
        parts: entries of ``train`` and, where the folder has them, ``validation`` and ``test``.
        left_out: files that are not read, by the reason.
        nested: folders within class folders, whose images are of that class.
    """

    folder: Path
    classes: tuple[str, ...] = ()
    parts: dict[str, list[Entry]] = field(default_factory=dict)
    left_out: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    nested: list[Path] = field(default_factory=list)

    def remarks(self) -> list[str]:
        """Sentences on how the folder was read: its parts, and how many files are left out for which reason."""
        counts = ", ".join(f"{len(entries)} to {_VERBS[part]}" for part, entries in self.parts.items())
        lacking = [part for part in ("test", "validation") if part not in self.parts]
        if len(lacking) == 2:
            counts = f"{len(self.parts['train'])} images, of each class a fifth to test on, and of the rest to score on"
        elif lacking:
            counts += f"; of each class a fifth of those to train on is taken to {_VERBS[lacking[0]]}"
        found = [f"{len(self.classes)} classes; {counts}."]
        if self.nested:
            found.append(f"No classes of their own, as they lie within class folders: {self._named(self.nested)}.")
        return found + [f"Left out, {reason}: {self._named(files)}." for reason, files in self.left_out.items()]

    def names_left_out(self) -> dict[str, tuple[str, ...]]:
        """The files that are left out as people see them, within the folder, by the reason."""
        return {reason: tuple(map(self._within, files)) for reason, files in self.left_out.items()}

    def _within(self, path: Path) -> str:
        return printable(str(path.relative_to(self.folder)))

    def _named(self, paths: Sequence[Path]) -> str:
        """How many paths there are, and the first ones."""
        names = ", ".join(map(self._within, paths[:EXAMPLES]))
        return f"{len(paths)} ({names}{', ...' if len(paths) > EXAMPLES else ''})"


_VERBS = {"train": "train on", "validation": "score on", "test": "test on"}


def list_images(folder: Path) -> Listing:
    """List the images of a folder.

    Raises:
        QnasError: fewer than two classes or too many, too few images of one, two of the same name but for case, a part
            without classes or with others, parts without one to train on, a table that cannot be used, or a folder
            that cannot be read.
    """
    try:
        return _listed(folder)
    except OSError as error:
        raise QnasError(
            f"Folders of images can be read, but {error.filename} cannot ({error.strerror}); change its permissions, "
            "or move it elsewhere."
        ) from error


def _listed(folder: Path) -> Listing:
    found, top = Listing(folder), _own(folder)
    folders = [path for path in top if path.is_dir()]
    tables = [path for path in top if path.is_file() and path.suffix.lower() in TABLES]
    divided = {} if _are_classes(folders, tables) else _divided(folder, folders)
    read = {} if divided else {table: rows for table in tables if (rows := read_table(table))}
    if divided:
        _list_parts(found, divided, [path for path in top if path not in divided.values()])
    elif len(read) == 1:
        [(table, rows)] = read.items()
        _list_table(found, table, *rows)
    elif tables and len([path for path in folders if not part_of(path.name)]) < 2:
        raise QnasError(
            f"A folder without class folders has one table (CSV) with a column {FILE_COLUMNS[0]} and a column "
            f"{LABEL_COLUMNS[0]} in its first line, got {len(read)} of {len(tables)} in {folder}; name its columns so."
        )
    else:
        found.classes = _class_names(folder)
        found.parts["train"] = _list_classes(found, folder)
        found.left_out["in no class folder"] += [path for path in top if not path.is_dir()]
    found.left_out = {reason: sorted(files) for reason, files in found.left_out.items() if files}
    _check_counts(found)
    return found


def part_of(name: str) -> str:
    """Which part a folder or a row of a table is of, by its name in any case and spelling; empty if it is none's."""
    return PARTS.get(PART_TAIL.sub("", name.strip().lower()), "")


def _are_classes(folders: Sequence[Path], tables: Sequence[Path]) -> bool:
    """Whether no folder is a part of the images, though one may be called like one, as a class of trains is."""
    named = [path for path in folders if part_of(path.name)]
    others = len(named) < len(folders)
    if others and all(part_of(path.name) != "train" for path in named):
        return True
    return bool(others or tables) and not any(_holds_folders(path) for path in named)


def _divided(folder: Path, folders: Sequence[Path]) -> dict[str, Path]:
    """The folders of parts by their parts."""
    divided = dict[str, Path]()
    for path in folders:
        if (part := part_of(path.name)) and (other := divided.setdefault(part, path)) != path:
            raise QnasError(
                f"Each part of the images is one folder, got {other.name} and {path.name} in {folder}; merge them."
            )
    if divided and "train" not in divided:
        raise QnasError(
            f"There are images to train on, got {', '.join(path.name for path in divided.values())} and no train in "
            f"{folder}; rename one of them, or give its folder as `data`."
        )
    return divided


def _holds_folders(folder: Path) -> bool:
    return any(path.is_dir() for path in _own(folder))


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
        found.left_out["in no class folder"] += [path for path in _own(divided[part]) if not path.is_dir()]
    found.left_out["in none of the parts"] += [inner for path in others for inner in _files(path)]


def _list_classes(found: Listing, folder: Path) -> list[Entry]:
    """The images below each class folder, in order, however deep."""
    entries = []
    for label, name in enumerate(found.classes):
        within = set[Path]()
        for path in sorted(_files(folder / name)) if (folder / name).is_dir() else ():
            if not path.is_file():
                found.left_out["links that lead to no file of their own"].append(path)
            elif path.suffix.lower() not in ENDINGS:
                found.left_out[UNREAD if path.suffix.lower() in PHOTOS else NO_IMAGE].append(path)
            else:
                entries.append((path, label))
                within |= {folder / name / part for part in path.relative_to(folder / name).parts[:-1][:1]}
        found.nested += sorted(within)
        if len(entries) > MOST_FILES:
            raise QnasError(f"A data set has at most {MOST_FILES:,} images, got more in {folder}; name a smaller one.")
    return entries


def _list_table(found: Listing, table: Path, label_column: str, rows: list[Row]) -> None:
    found.classes = tuple(sorted({label for _, label, _ in rows} - {""}))
    if len(found.classes) < 2:
        raise QnasError(
            f"A table of images needs at least two classes in its column {label_column!r}, got {len(found.classes)} in "
            f"{table}; correct it."
        )
    _check_names(found.classes, table)
    numbers, folder = {name: number for number, name in enumerate(found.classes)}, found.folder.resolve()
    lines: dict[str, list[Entry]] = defaultdict(list)
    missing, listed = [], dict[Path, Row]()
    for row in rows:
        file_name, label, part = row[0], row[1], part_of(row[2])
        path = found.folder / file_name
        if not path.is_file() or not path.resolve().is_relative_to(folder):
            missing.append(file_name)
        elif listed.setdefault(path, row)[1:] != row[1:]:
            raise QnasError(
                f"Each image has one label and one part, got {shown(file_name)} with two in {table}; remove one."
            )
        elif listed[path] is not row:
            found.left_out["in the table once more"].append(path)
        elif not label or not part:
            found.left_out["no label or part in the table"].append(path)
        else:
            lines[part].append((path, numbers[label]))
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
        if lacking := [(count, name) for count, name in zip(counts, found.classes, strict=True) if count < fewest]:
            where = found.folder if len(found.parts) == 1 else f"the {part} part of {found.folder}"
            told = ", ".join(f"{count} of {name!r}" for count, name in lacking[:EXAMPLES])
            more = f" and too few of {len(lacking) - EXAMPLES} others" if len(lacking) > EXAMPLES else ""
            raise QnasError(
                f"Each class needs at least {fewest} images ({', '.join(ENDINGS)}), got {told}{more} in {where}; "
                f"{_other_endings(found, {name for _, name in lacking})}add some, or remove the class."
            )
    if "train" not in found.parts:
        raise QnasError(f"There are images to train on, got none in {found.folder}; correct its table.")


def _other_endings(found: Listing, classes: set[str]) -> str:
    """Which ending most files of these classes have that cannot be read as images, and what to do; or nothing."""
    left = [*found.left_out.get(UNREAD, ()), *found.left_out.get(NO_IMAGE, ())]
    files = [path for path in left if classes & set(path.parts)]
    endings = Counter(ending for path in files if (ending := path.suffix.lower()))
    if not endings:
        return ""
    [(ending, count)] = endings.most_common(1)
    return f"convert the files that end in {shown(ending)} ({count:,}), if they are images, or "


def _class_names(folder: Path) -> tuple[str, ...]:
    folders = [path for path in _own(folder) if path.is_dir()]
    if len(folders) < 2:
        remedy = "sort the images into folders named after their classes."
        for path in folders:
            remedy = f"is it {path.name} in it?" if _holds_folders(path) else remedy
        raise QnasError(
            f"An image folder needs one folder for each of at least two classes, got {len(folders)} in {folder}; "
            f"{remedy}"
        )
    names = tuple(path.name for path in folders)
    if bad := [name for name in names if UNPRINTABLE.search(name)]:
        raise QnasError(f"Classes have names that a terminal shows, got {shown(bad[0])} in {folder}; rename it.")
    _check_names(names, folder)
    return names


def _check_names(names: Sequence[str], place: Path) -> None:
    if len(names) > MOST_CLASSES:
        raise QnasError(
            f"A data set has at most {MOST_CLASSES:,} classes, got {len(names):,} in {place}; merge or remove some."
        )
    alike = dict[str, str]()
    for name in names:
        other = alike.setdefault(unicodedata.normalize("NFKC", name).casefold(), name)
        if other != name:
            raise QnasError(
                f"Names of classes differ in more than case, got {other!r} and {name!r} in {place}; rename or merge "
                "them."
            )


def _own(folder: Path) -> list[Path]:
    """What lies in a folder, in order, but for what belongs to an operating system."""
    return sorted(path for path in folder.iterdir() if _counts(path.name))


def _files(path: Path) -> Iterator[Path]:
    """All that lies at or below a path and is no folder, likewise; links to folders, which may go round, are files.

    Raises:
        OSError: a folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        raise error

    if not path.is_dir():
        yield path
    for folder, inner, names in os.walk(path, onerror=refuse) if path.is_dir() else ():
        inner[:] = [name for name in inner if _counts(name)]
        links = [name for name in inner if Path(folder, name).is_symlink()]
        yield from (Path(folder, name) for name in (*names, *links) if _counts(name))


def _counts(name: str) -> bool:
    """Whether a name is none of an operating system's."""
    return name[0] != "." and name.lower() not in NEVER
