"""Which files of a folder count, as people have folders: parts, tables, nested classes, litter."""

import os
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
    [
        ("train", "val", "test"), ("Train", "VALID", "Test"), ("training", "validation", "testing"),
        ("train_set", "Dev-Set", "test images"),
    ],
)  # fmt: skip
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
    assert found.remarks() == [
        "2 classes; 30 images, of each class a fifth to test on, and of the rest to score on.",
        "No classes of their own, as they lie within class folders: 2 (dog/old, dog/young).",
    ]


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


def test_photos_that_cannot_be_read_are_called_so(tmp_path: Path) -> None:
    put(tmp_path, "cat", "dog", count=10)
    put(tmp_path, "cat/a.HEIC", "dog/b.dng", "dog/notes.txt")
    assert list_images(tmp_path).remarks()[1:] == [
        "Left out, photos of a kind that is not read, to be converted to JPEG or PNG: 2 (cat/a.HEIC, dog/b.dng).",
        "Left out, no image by their endings: 1 (dog/notes.txt).",
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
    assert found.remarks()[1:] == ["Left out, not in the table: 2 (images/other.jpg, notes.txt)."]


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
    assert list_images(tmp_path).remarks()[1:] == ["Left out, in no class folder: 1 (history.csv)."]


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


def test_a_class_may_be_called_like_a_part(tmp_path: Path) -> None:
    put(tmp_path, "car", "plane", "train", count=10)
    assert list_images(tmp_path).classes == ("car", "plane", "train")


@pytest.mark.parametrize(
    ("folders", "message"),
    [
        (["test/a", "test/b", "val/a", "val/b"], "images to train on, got test, val and no train in"),
        (["train/a", "train/b", "val/a", "val/b", "valid/a", "valid/b"], "part .* is one folder, got val and valid in"),
        (["Cat", "cat"], "differ in more than case, got 'Cat' and 'cat' in"),
        (["photos/cat", "photos/dog"], "at least two classes, got 1 in .*; is it photos in it"),
        (["a\nb", "c"], r"a terminal shows, got 'a\\nb' in"),
    ],
    ids=str,
)
def test_folders_that_may_be_meant_otherwise_are_refused(tmp_path: Path, folders: list[str], message: str) -> None:
    put(tmp_path, *folders, count=10)
    with pytest.raises(QnasError, match=message):
        list_images(tmp_path)


def test_classes_with_too_few_images_are_all_told(tmp_path: Path) -> None:
    put(tmp_path, "a", "b", count=10)
    put(tmp_path, *(f"{name}/1.png" for name in "cdefg"))
    with pytest.raises(QnasError, match="got 1 of 'c', 1 of 'd', 1 of 'e' and too few of 2 others in"):
        list_images(tmp_path)


def test_so_many_classes_are_refused(tmp_path: Path) -> None:
    rows = "".join(f"{number}.png,{number}\n" for number in range(40_000))
    (tmp_path / "labels.csv").write_text(f"file,label\n{rows}", encoding="utf-8")
    with pytest.raises(QnasError, match="at most 1,000 classes, got 40,000 in"):
        list_images(tmp_path)


def test_links_that_lead_nowhere_or_to_folders_are_counted(tmp_path: Path) -> None:
    put(tmp_path, "a", "b", count=10)
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "a" / "round").symlink_to(tmp_path / "a")
    found = list_images(tmp_path)
    assert found.left_out == {
        "links that lead to no file of their own": [tmp_path / "a" / "gone.png", tmp_path / "a" / "round"]
    }
    assert counts(found) == {"train": [10, 10]}


@pytest.mark.skipif(os.geteuid() == 0, reason="who may do everything is refused nothing")
def test_a_folder_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    put(tmp_path, "a", "b", "b/inner", count=10)
    (tmp_path / "b" / "inner").chmod(0)
    with pytest.raises(QnasError, match=r"b/inner cannot \(Permission denied\); change its permissions"):
        list_images(tmp_path)


@pytest.mark.parametrize(("ending", "mark"), [("csv", ";"), ("tsv", "\t")])
def test_tables_have_several_marks(tmp_path: Path, ending: str, mark: str) -> None:
    put(tmp_path, "images", count=20)
    rows = [f"images/{number:02}.png{mark}{'cat' if number < 10 else 'dog'}" for number in range(20)]
    (tmp_path / f"labels.{ending}").write_text("\n".join([f"file_name{mark}label", *rows, rows[0]]), encoding="utf-8")
    found = list_images(tmp_path)
    assert counts(found) == {"train": [10, 10]}
    assert found.left_out == {"in the table once more": [tmp_path / "images" / "00.png"]}


def test_an_image_with_two_labels_is_refused(tmp_path: Path) -> None:
    put(tmp_path, "images", count=20)
    (tmp_path / "labels.csv").write_text("file,label\nimages/00.png,cat\nimages/00.png,dog\n", encoding="utf-8")
    with pytest.raises(QnasError, match=r"one label and one part, got 'images/00.png' with two in .*labels.csv"):
        list_images(tmp_path)


def test_a_table_without_the_columns_is_told_them(tmp_path: Path) -> None:
    put(tmp_path, "images", count=20)
    (tmp_path / "labels.csv").write_text("id,breed\n00,cat\n", encoding="utf-8")
    with pytest.raises(QnasError, match="a column file and a column label in its first line, got 0 of 1 in"):
        list_images(tmp_path)


def test_endings_that_may_be_images_are_named_where_images_lack(tmp_path: Path) -> None:
    put(tmp_path, "dog", count=10)
    put(tmp_path, *(f"cat/{number}.HEIC" for number in range(12)), "cat/notes.txt")
    put(tmp_path, *(f"dog/{number}.txt" for number in range(20)), *(f"cat/{number}" for number in range(20)))
    with pytest.raises(QnasError, match=r"got 0 of 'cat' in .*; convert the files that end in '\.heic' \(12\), if th"):
        list_images(tmp_path)


def test_left_out_files_have_their_names_within_the_folder(tmp_path: Path) -> None:
    put(tmp_path, "cat", "dog", count=10)
    put(tmp_path, "cat/a/notes.txt", "read\x1b[31mme")
    found = list_images(tmp_path).names_left_out()
    assert found == {"in no class folder": (r"read\x1b[31mme",), "no image by their endings": ("cat/a/notes.txt",)}
