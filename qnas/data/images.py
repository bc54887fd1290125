"""An image data set in memory: 8-bit images (n, channels, height, width) and labels (n,), split in three.

``train`` trains, ``validation`` (taken from the training images) scores and chooses, ``test`` is read once at the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from math import inf
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from qnas.errors import QnasError
from qnas.task import Task

Array = NDArray[np.uint8] | NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """Images, held as 8-bit numbers and handed out normalised.

    Args:
        pixels: (n, channels, height, width), uint8.
        labels: (n,), int64.
        mean: of each channel over the training images, (1, channels, 1, 1).
        deviation: standard deviation, likewise.
    """

    pixels: Tensor
    labels: Tensor
    mean: Tensor
    deviation: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def batch(self, which: Tensor | slice) -> tuple[Tensor, Tensor]:
        """Normalised images (batch, channels, height, width) and their labels (batch,)."""
        return (self.pixels[which].float() - self.mean) / self.deviation, self.labels[which]

    def first(self, count: int) -> "Images":
        """The first ``count`` images."""
        return replace(self, pixels=self.pixels[:count], labels=self.labels[:count])

    def drawn(self, count: int, seed: int = 0) -> "Images":
        """So many images drawn at random, the same for the same seed; all of them where there are fewer."""
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed))
        which = order[:count].to(self.labels.device)
        return replace(self, pixels=self.pixels[which], labels=self.labels[which])


@dataclass(frozen=True)
class DataSet:
    """A data set: its task, three parts, and how its training images may be shifted and mirrored.

    ``mirror_from``: from how many passes over them training images are mirrored: 0 where things face either way, more
    where they face one way and a run must be long to overfit without, never where a mirror image is of no class.
    ``remarks`` are sentences on how it was read, ``left_out`` the files that were not, by the reason; ``about`` is one
    on where it comes from, and ``licence`` what its makers allow, as SPDX abbreviates it, where they are known.
    """

    task: Task
    train: Images
    validation: Images
    test: Images
    shift: int = 0
    mirror_from: float = inf
    remarks: tuple[str, ...] = ()
    left_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    about: str = ""
    licence: str = ""

    @property
    def name(self) -> str:
        """What the data set is called."""
        return self.task.data

    def is_mirrored(self, passes: float = 0) -> bool:
        """Whether training images are mirrored in a run of so many passes."""
        return passes >= self.mirror_from

    @property
    def fingerprint(self) -> dict[str, Any]:
        """What tells these images from all others, wherever they lie: classes, counts, and a hash of every pixel."""
        parts = {"train": self.train, "validation": self.validation, "test": self.test}
        content = blake2b(digest_size=8)
        for images in parts.values():
            for tensor in (images.pixels, images.labels):
                content.update(tensor.cpu().numpy().tobytes())
        counts = {name: len(images) for name, images in parts.items()}
        return {"classes": list(self.task.names), **counts, "pixels": content.hexdigest()}

    def part(self, name: str) -> Images:
        """What networks are measured on: ``validation`` or ``test`` images.

        Raises:
            QnasError: another name.
        """
        parts = {"validation": self.validation, "test": self.test}
        if name not in parts:
            raise QnasError(f"Networks are measured on `part` {' or '.join(parts)}, got {name!r}; give one of them.")
        return parts[name]

    def to(self, device: torch.device) -> "DataSet":
        """The data set in another device's memory."""
        train, validation, test = (_moved(part, device) for part in (self.train, self.validation, self.test))
        return replace(self, train=train, validation=validation, test=test)


def _moved(images: Images, device: torch.device) -> Images:
    tensors = (images.pixels, images.labels, images.mean, images.deviation)
    return Images(*(tensor.to(device) for tensor in tensors))


def shrunk(data: DataSet, factor: int) -> DataSet:
    """A data set whose pixels are the means of squares of ``factor`` pixels; rows and columns that fill none go."""
    if factor == 1:
        return data
    parts = data.train, data.validation, data.test
    pixels = [F.avg_pool2d(part.pixels.float(), factor).round().byte() for part in parts]
    mean, deviation = _moments(pixels[0])
    moments = [tuple(value.flatten().tolist()) for value in (mean, deviation)]
    _, channels, height, width = pixels[0].shape
    task = replace(data.task, image=(channels, height, width), mean=moments[0], deviation=moments[1])
    train, validation, test = (
        Images(small, part.labels, mean, deviation) for small, part in zip(pixels, parts, strict=True)
    )
    return replace(data, task=task, train=train, validation=validation, test=test, shift=data.shift // factor)


def split_data(
    name: str,
    classes: tuple[str, ...],
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    validation: int,
    *,
    shift: int = 0,
    mirror_from: float = inf,
    highest: int = 255,
    remarks: tuple[str, ...] = (),
    about: str = "",
    licence: str = "",
) -> DataSet:
    """A data set from pixels (n, channels, height, width) and labels (n,) of a training and a test part.

    Args:
        name: of the data set.
        classes: names of the classes.
        train: pixels and labels, already in random order.
        test: pixels and labels.
        validation: how many of the training images, the last ones, to set aside for scoring.
        shift: by how many pixels training images may be shifted.
        mirror_from: from how many passes training images are mirrored.
        highest: what white is in these pixels.
        remarks: on how it was read.
        about: where it comes from.
        licence: of it, as SPDX abbreviates it.
    """
    pixels, labels = (torch.from_numpy(np.ascontiguousarray(array)) for array in train)
    kept = len(labels) - validation
    mean, deviation = _moments(pixels[:kept])
    test_pixels, test_labels = (torch.from_numpy(np.ascontiguousarray(array)) for array in test)
    _, channels, height, width = pixels.shape
    moments = [tuple(value.flatten().tolist()) for value in (mean, deviation)]
    return DataSet(
        task=Task((channels, height, width), len(classes), name, classes, moments[0], moments[1], highest),
        train=Images(pixels[:kept], labels[:kept].long(), mean, deviation),
        validation=Images(pixels[kept:], labels[kept:].long(), mean, deviation),
        test=Images(test_pixels, test_labels.long(), mean, deviation),
        shift=shift,
        mirror_from=mirror_from,
        remarks=remarks,
        about=about,
        licence=licence,
    )


def _moments(pixels: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of each channel, (1, channels, 1, 1), from how often each 8-bit value occurs."""
    counts = torch.stack([torch.bincount(channel.flatten(), minlength=256) for channel in pixels.unbind(1)]).double()
    shares = counts / counts.sum(1, keepdim=True)
    values = torch.arange(256.0, dtype=torch.float64, device=counts.device)
    mean = shares @ values
    deviation = (shares * (values - mean[:, None]).square()).sum(1).sqrt().clamp(min=1e-3)
    return mean.float().view(1, -1, 1, 1), deviation.float().view(1, -1, 1, 1)
