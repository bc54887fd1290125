"""Which files of a folder count, as people have folders: parts, tables, nested classes, litter."""

from collections.abc import Callable
from pathlib import Path

import pytest

from qnas.data.listing import Listing, list_images
from qnas.errors import QnasError


def put(folder: Path, *names: str, count: int = 0) -> None:
    """Empty files, for a listing opens none; ``count`` numbered images in every folder that is named."""
    for name in names:
        path = folder / name
        if count:
            path.mkdir(parents=True, exist_ok=True)
            for number in range(count):
                (path / f"{number:02}.png").touch()
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()


def counts(found: Listing) -> dict[str, list[int]]:
    """Of every part, images by class."""
    return {
        part: [sum(label == number for _, label in entries) for number in range(len(found.classes))]
        for part, entries in found.parts.items()
    }


@pytest.mark.parametrize(
    ("train", "validation", "test"),
    [("train", "val", "test"), ("Train", "VALID", "Test"), ("training", "validation", "testing")],
)
def test_parts_are_known_by_their_names_in_any_case(tmp_path: Path, train: str, validation: str, test: str) -> None:
    put(tmp_path, f"{train}/cat", f"{train}/dog", count=10)
    put(tmp_path, f"{validation}/cat", f"{validation}/dog", count=3)
    put(tmp_path, f"{test}/cat", f"{test}/dog", count=2)
    found = list_images(tmp_path)
    assert counts(found) == {"train": [10, 10], "validation": [3, 3], "test": [2, 2]}
    assert found.remarks() == ["2 classes; 20 to train on, 6 to score on, 4 to test on."]


def test_parts_may_be_missing_but_the_training_part(tmp_path: Path) -> None:
    put(tmp_path, "train/cat", "train/dog", count=10)
    put(tmp_path, "val/cat", "val/dog", count=1)
    assert counts(list_images(tmp_path)) == {"train": [10, 10], "validation": [1, 1]}


def test_class_folders_alone_are_one_part(tmp_path: Path) -> None:
    put(tmp_path, "cat", "dog/young", "dog/old", count=10)
    found = list_images(tmp_path)
    assert (found.classes, counts(found)) == (("cat", "dog"), {"train": [10, 20]})
    assert found.remarks() == []


def test_what_an_operating_system_leaves_never_counts(tmp_path: Path) -> None:
    put(tmp_path, "cat", "dog", "__MACOSX", ".ipynb_checkpoints", count=10)
    put(tmp_path, "cat/._00.png", "cat/Thumbs.db", "dog/.DS_Store", "desktop.ini", "dog/__MACOSX/00.png")
    found = list_images(tmp_path)
    assert counts(found) == {"train": [10, 10]}
    assert not found.left_out


def test_everything_else_that_is_left_out_is_counted_by_its_reason(tmp_path: Path) -> None:
    put(tmp_path, "train/cat", "train/dog", "test/cat", "test/dog", "extra/cat", count=10)
    put(tmp_path, "train/cat/notes.txt", "train/dog/film.mp4", "test/cat/a.pdf", "test/dog/b.pdf", "train/stray.png")
    put(tmp_path, "README.md")
    found = list_images(tmp_path)
    assert {reason: len(files) for reason, files in found.left_out.items()} == {
        "no image by their endings": 4, "in no class folder": 1, "in none of the parts": 11
    }  # fmt: skip
    assert found.remarks()[1:] == [
        "Left out, no image by their endings: 4 (test/cat/a.pdf, test/dog/b.pdf, train/cat/notes.txt, ...).",
        "Left out, in no class folder: 1 (train/stray.png).",
        "Left out, in none of the parts: 11 (README.md, extra/cat/00.png, extra/cat/01.png, ...).",
    ]


def table(folder: Path, header: str, row: Callable[[int], str], count: int = 40) -> None:
    put(folder, *(f"images/{number:02}.jpg" for number in range(count)))
    lines = [header, *(row(number) for number in range(count))]
    (folder / "labels.csv").write_bytes(("\ufeff" + "\r\n".join(lines) + "\r\n").encode())


def test_a_table_says_which_file_is_of_which_class(tmp_path: Path) -> None:
    table(
        tmp_path,
        "Filename,size,Label",
        lambda number: f'images/{number:02}.jpg,3,"{"cat, big" if number % 2 else "dog"}"',
    )
    put(tmp_path, "images/other.jpg", "notes.txt")
    found = list_images(tmp_path)
    assert found.classes == ("cat, big", "dog")
    assert counts(found) == {"train": [20, 20]}
    assert found.parts["train"][0] == (tmp_path / "images/00.jpg", 1)
    assert found.remarks() == ["Left out, not in the table: 2 (images/other.jpg, notes.txt)."]


def test_a_table_may_say_the_part_too(tmp_path: Path) -> None:
    parts = ["train", "Train", "val", "test"]
    table(tmp_path, "path,class,split", lambda n: f"images/{n:02}.jpg,{n % 2},{parts[n // 10]}")
    assert counts(list_images(tmp_path)) == {"train": [10, 10], "validation": [5, 5], "test": [5, 5]}
    table(tmp_path, "path,class,split", lambda n: f"images/{n:02}.jpg,{n % 2},{'train' if n < 30 else ''}")
    found = list_images(tmp_path)
    assert counts(found) == {"train": [15, 15]}
    assert len(found.left_out["no label or part in the table"]) == 10


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (lambda n: f"images/{n:02}.jpg,cat", r"at least two classes in its column 'label', got 1 in .*csv; correct it"),
        (lambda n: f"images/{n}.jpg,{n % 2}", r"but 10 do not, such as 'images/0.jpg'; correct the table"),
        (lambda n: f"../images/{n:02}.jpg,{n % 2}", r"but 40 do not, such as '../images/00.jpg'"),
        (lambda n: f"images/{n:02}.jpg,{int(n < 5)}", r"got 5 of '1' in"),
    ],
    ids=["one class", "missing files", "files elsewhere", "few images"],
)
def test_a_wrong_table_is_refused(tmp_path: Path, row: Callable[[int], str], message: str) -> None:
    table(tmp_path, "file,label", row)
    with pytest.raises(QnasError, match=message):
        list_images(tmp_path)


@pytest.mark.parametrize("content", [b"file,label\n\xff\xfe,cat\n", b'file,label\n"' + b"a" * 200_000 + b'",cat\n'])
def test_a_damaged_table_is_refused(tmp_path: Path, content: bytes) -> None:
    put(tmp_path, "cat", "dog", count=10)
    (tmp_path / "labels.csv").write_bytes(content)
    with pytest.raises(QnasError, match=r"cannot be read as a table of images \(.*\); save it as CSV in UTF-8"):
        list_images(tmp_path)


def test_rows_that_are_cut_off_have_no_label(tmp_path: Path) -> None:
    table(tmp_path, "file,label", lambda n: f"images/{n:02}.jpg" + (f",{n % 2}" if n < 30 else ""))
    found = list_images(tmp_path)
    assert counts(found) == {"train": [15, 15]}
    assert len(found.left_out["no label or part in the table"]) == 10


def test_a_table_of_something_else_is_a_file_like_others(tmp_path: Path) -> None:
    put(tmp_path, "cat", "dog", count=10)
    (tmp_path / "history.csv").write_text("epoch,loss\n1,2\n", encoding="utf-8")
    assert list_images(tmp_path).remarks() == ["Left out, in no class folder: 1 (history.csv)."]


def test_a_test_part_without_labels_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/cat", "train/dog", "test", count=10)
    with pytest.raises(
        QnasError, match="test has 10 images and no class folders, so nothing can be told of them; sort"
    ):
        list_images(tmp_path)


def test_classes_that_only_other_parts_have_are_refused(tmp_path: Path) -> None:
    put(tmp_path, "train/cat", "train/dog", "test/cat", "test/cow", count=10)
    with pytest.raises(QnasError, match=r"test has classes that .*train lacks, got cow; rename or remove them"):
        list_images(tmp_path)
