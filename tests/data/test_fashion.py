"""The embedded Fashion-MNIST: its pixels are those that were published, unpacked or kept."""

import hashlib
import zipfile
from pathlib import Path

import numpy as np
import pytest

from qnas.data.fashion import ARCHIVE, fashion
from qnas.data.images import DataSet

PIXELS = "0fbbfcb392782b3b702472ead3688778e1509e8cf40f5c24d9d3303618b193ab"
"""SHA-256 of the values of train-images-idx3-ubyte, then of t10k-images-idx3-ubyte."""
LABELS = "8ab940a680640f36c0bf1d2549cb2f3b3d4068c12547116cc7b1161b1d26663d"


def pixels_and_labels(data: DataSet) -> tuple[bytes, bytes]:
    parts = (data.train, data.validation, data.test)
    pixels = b"".join(part.pixels.numpy().tobytes() for part in parts)
    return pixels, b"".join(part.labels.numpy().astype(np.uint8).tobytes() for part in parts)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_it_is_as_published_unpacked_and_kept(home: Path) -> None:
    for _ in range(2):
        data = fashion()
        assert [hashlib.sha256(content).hexdigest() for content in pixels_and_labels(data)] == [PIXELS, LABELS]
        assert len(list((home / ".cache" / "qnas").iterdir())) == 1
    assert (len(data.train), len(data.validation), len(data.test)) == (55_000, 5_000, 10_000)
    assert (data.task.image, data.task.classes) == ((1, 28, 28), 10)


def test_it_is_read_where_nothing_can_be_kept(home: Path) -> None:
    (home / ".cache").write_text("a file in the way", encoding="utf-8")
    assert len(fashion().test) == 10_000


def test_a_damaged_copy_is_made_anew(home: Path) -> None:
    fashion()
    (kept,) = (home / ".cache" / "qnas").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(whole[:1000])
    assert len(fashion().test) == 10_000
    assert kept.read_bytes() == whole


def test_shoes_face_one_way_so_only_long_runs_mirror() -> None:
    data = fashion()
    shoes = data.train.pixels[data.train.labels == data.task.names.index("sneaker")].float()
    mean = shoes.mean(0)
    nearer = (shoes - mean).flatten(1).norm(dim=1) < (shoes - mean.flip(-1)).flatten(1).norm(dim=1)
    assert nearer.float().mean() > 0.99
    assert not data.is_mirrored()
    assert not data.is_mirrored(12)
    assert data.is_mirrored(36)


def test_the_licence_ships_with_the_images() -> None:

    with zipfile.ZipFile(ARCHIVE) as archive:
        assert "Zalando SE" in archive.read("LICENSE").decode()
