"""CIFAR-10 in the official binary layout: made records are read back as they were written."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qnas.data.cifar10 import cifar10, holds_cifar10
from qnas.errors import QnasError

NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
TRAIN = [f"data_batch_{number}.bin" for number in range(1, 6)]
EVERY_FILE = [*TRAIN, "test_batch.bin", "batches.meta.txt"]
PER_FILE = 8


def record(label: int, seed: int) -> bytes:
    """One label byte, then the red, the green and the blue plane, row by row."""
    planes = np.random.default_rng(seed).integers(0, 256, (3, 32, 32), dtype=np.uint8)
    return bytes([label]) + b"".join(plane.tobytes() for plane in planes)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six files of eight records; of the forty training images the last four are for scoring."""
    for place, name in enumerate(EVERY_FILE[:6]):
        seeds = range(place * PER_FILE, (place + 1) * PER_FILE)
        (tmp_path / name).write_bytes(b"".join(record(seed % 10, seed) for seed in seeds))
    (tmp_path / "batches.meta.txt").write_text("\n".join(NAMES) + "\n\n", encoding="utf-8")
    return tmp_path


def test_the_files_are_recognised(folder: Path) -> None:
    assert holds_cifar10(folder)


def test_labels_and_names_are_read(folder: Path) -> None:
    data = cifar10(folder)
    assert data.task.names == NAMES
    assert data.name == "cifar10"
    labels = torch.cat([data.train.labels, data.validation.labels])
    assert labels.tolist() == [seed % 10 for seed in range(40)]


def test_images_are_split_into_training_scoring_and_test(folder: Path) -> None:
    data = cifar10(folder)
    assert [len(part) for part in (data.train, data.validation, data.test)] == [36, 4, 8]
    assert data.test.labels.tolist() == [seed % 10 for seed in range(40, 48)]
    assert data.task.image == (3, 32, 32)


@pytest.mark.parametrize("seed", [0, 35, 36, 39, 40, 47])
def test_pixels_are_in_their_planes_and_rows(folder: Path, seed: int) -> None:
    data = cifar10(folder)
    pixels = torch.cat([data.train.pixels, data.validation.pixels, data.test.pixels])[seed]
    raw = record(seed % 10, seed)
    for channel, row, column in [(0, 0, 0), (0, 0, 31), (0, 31, 0), (1, 2, 3), (2, 31, 31)]:
        assert pixels[channel, row, column] == raw[1 + 1024 * channel + 32 * row + column]


def test_a_plain_red_image_is_red(folder: Path) -> None:
    plain = bytes([3]) + bytes([255]) * 1024 + bytes(2048)
    (folder / "test_batch.bin").write_bytes(plain)
    pixels = cifar10(folder).test.pixels[0]
    assert [channel.unique().tolist() for channel in pixels] == [[255], [0], [0]]


def test_training_images_may_be_shifted_and_mirrored(folder: Path) -> None:
    data = cifar10(folder)
    assert (data.shift, data.mirror_from) == (4, 0)


@pytest.mark.parametrize("name", EVERY_FILE)
def test_a_missing_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).unlink()
    assert not holds_cifar10(folder)
    with pytest.raises(QnasError, match="not all of which lie in") as caught:
        cifar10(folder)
    assert str(folder) in str(caught.value)
    assert "unpack cifar-10-binary.tar.gz" in str(caught.value)


DAMAGES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[:-1],
    "longer": lambda content: content + b"0",
    "empty": lambda content: b"",
    "label of 10": lambda content: content[: 3 * 3073] + b"\x0a" + content[3 * 3073 + 1 :],
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["data_batch_3.bin", "test_batch.bin"])
def test_a_damaged_file_is_refused(folder: Path, name: str, damage: str) -> None:
    path = folder / name
    path.write_bytes(DAMAGES[damage](path.read_bytes()))
    with pytest.raises(QnasError, match="records of 3073 bytes that begin with a label 0 to 9") as caught:
        cifar10(folder)
    assert f"{path} ({path.stat().st_size} bytes)" in str(caught.value)
    assert "fetch it again" in str(caught.value)
