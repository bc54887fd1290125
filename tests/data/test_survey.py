"""A look at data sets with known contents."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import qnas
from qnas.data.images import DataSet, split_data
from qnas.data.survey import FACES, GAP, contact_sheet, face, labelled_sheet, survey


@pytest.fixture
def made() -> DataSet:
    """Three classes of 6, 3 and 3 training images, the last two of which are scored on; two tests were trained on."""
    pixels = np.random.default_rng(0).integers(0, 256, (12, 3, 4, 5), np.uint8)
    pixels[1] = pixels[0]
    labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2, 2, 1, 2])
    tests = np.concatenate([pixels[:2], np.zeros((4, 3, 4, 5), np.uint8)])
    parts = (pixels, labels), (tests, np.array([0, 0, 0, 1, 1, 2]))
    return split_data("made [up]", ("a", "b", "c"), *parts, 2, remarks=("Left out: 1.",))


def test_a_survey_counts_classes_and_repetitions(made: DataSet) -> None:
    found = survey(made)
    assert found.counts == {"train": [6, 2, 2], "validation": [0, 1, 1], "test": [3, 2, 1]}
    assert found.repeated == {"train": 1, "validation": 0, "test": 2}
    assert (found.imbalance, found.majority) == (3, 50)
    assert (found.image, found.classes, found.remarks) == ((3, 4, 5), ("a", "b", "c"), ("Left out: 1.",))
    assert (found.sizes, found.modes) == ((), {})
    assert found.to_json()["majority"] == 50


def test_a_test_image_that_was_scored_on_is_a_repetition(made: DataSet) -> None:
    made.test.pixels[4] = made.validation.pixels[0]
    assert survey(made).repeated == {"train": 1, "validation": 0, "test": 2 + 1}


def test_files_have_sizes_and_modes(made: DataSet, tmp_path: Path) -> None:
    sizes = [(10, 20), (30, 12), (14, 16), (15, 17), (16, 18)]
    for number, size in enumerate(sizes):
        Image.new("RGB" if number < 3 else "L", size).save(tmp_path / f"{number}.png")
    found = survey(made, sorted(tmp_path.iterdir()))
    assert found.sizes == ((10, 12), (15, 17), (30, 20))
    assert found.modes == {"RGB": 3, "L": 2}


def test_sizes_are_those_of_upright_images(made: DataSet, tmp_path: Path) -> None:
    lying = Image.Exif()
    lying[0x0112] = 6
    Image.new("RGB", (40, 20)).save(tmp_path / "photo.jpg", exif=lying)
    assert survey(made, [tmp_path / "photo.jpg"]).sizes == ((20, 40),) * 3


def test_a_labelled_sheet_names_every_row(made: DataSet) -> None:
    plain, sheet = contact_sheet(made), labelled_sheet(made)
    height, left = made.task.image[1], sheet.width - plain.width
    row = sheet.height // made.task.classes
    assert row >= 12
    for place in range(made.task.classes):
        strip = sheet.crop((left, place * row, sheet.width, place * row + height))
        top = place * (height + GAP)
        assert strip.tobytes() == plain.crop((0, top, plain.width, top + height)).tobytes()
        named = np.asarray(sheet.crop((0, place * row, left, (place + 1) * row)).convert("L"))
        assert (named < 128).any()


def test_a_contact_sheet_has_a_row_of_each_class(made: DataSet) -> None:
    made.train.pixels[0, 0, 0, 0] = 255
    sheet = contact_sheet(made)
    assert sheet.size == (FACES * (5 + GAP) - GAP, 3 * (4 + GAP) - GAP)
    rows = np.asarray(sheet)
    first = made.train.pixels[made.train.labels == 2][1].numpy().transpose(1, 2, 0)
    assert np.array_equal(rows[2 * (4 + GAP) :, 5 + GAP : 2 * 5 + GAP], first)
    assert (rows[2 * (4 + GAP) :, 3 * (5 + GAP) :] == 255).all()  # there are but two


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (2, "L"), (3, "RGB")])
def test_the_brightest_value_is_white(channels: int, mode: str) -> None:
    shown = face(np.full((channels, 2, 3), 4, np.uint8), 16)
    assert (shown.mode, shown.size, shown.getextrema()) == (mode, (3, 2), (64, 64) if mode == "L" else ((64, 64),) * 3)
    assert face(np.full((channels, 2, 3), 16, np.uint8), 16).convert("L").getextrema() == (255, 255)
    assert face(np.zeros((channels, 2, 3), np.uint8), 0).convert("L").getextrema() == (0, 0)


def test_a_folder_is_surveyed_with_what_is_left_out(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        for number in range(10):
            Image.new("L", (8, 8 + number), 20 * number).save(tmp_path / name / f"{number}.png")
    (tmp_path / "cat" / "notes.txt").touch()
    assert qnas.survey(tmp_path, image="6x9").image == (1, 6, 9)
    found = qnas.survey(tmp_path, sheet=tmp_path / "sheet.png")
    assert found.counts == {"train": [6, 6], "validation": [2, 2], "test": [2, 2]}
    assert found.sizes == ((8, 8), (8, 12), (8, 17))
    assert found.modes == {"L": 20}
    assert found.remarks[1:] == ("Left out, no image by their endings: 1 (cat/notes.txt).",)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.mode == "L"
