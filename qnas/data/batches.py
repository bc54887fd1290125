"""Training batches on the device: seeded, shuffled each pass, shifted and mirrored where the data set allows it."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.images import DataSet, Images


def random_batch(data: DataSet, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One batch of distinct training images, augmented, and their labels."""
    images = data.train
    which = torch.randperm(len(images), generator=generator, device=generator.device)[:size]
    x, labels = images.batch(which)
    return augment(x, data.shift, data.mirror, generator), labels


def training_batches(data: DataSet, size: int, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless full batches of training images, each image once a pass, augmented."""
    images = data.train
    generator = torch.Generator(images.labels.device).manual_seed(seed)
    size = min(size, len(images))
    while True:
        order = torch.randperm(len(images), generator=generator, device=generator.device)
        for which in order[: len(images) // size * size].split(size):
            x, labels = images.batch(which)
            yield augment(x, data.shift, data.mirror, generator), labels


def evaluation_batches(images: Images, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order."""
    for start in range(0, len(images), size):
        yield images.batch(slice(start, start + size))


def augment(x: Tensor, shift: int, mirror: bool, generator: torch.Generator) -> Tensor:
    """Shift the whole batch of images by up to ``shift`` pixels, zeros moving in, and mirror a half of it.

    The generator is on the device of the images, so that nothing waits for the device.
    """
    device = x.device
    if mirror:
        half = torch.rand(len(x), generator=generator, device=device) < 0.5
        x = torch.where(half[:, None, None, None], x.flip(3), x)
    if shift:
        height, width = x.shape[2:]
        offsets = torch.randint(0, 2 * shift + 1, (2, 1), generator=generator, device=device)
        rows, columns = (
            torch.arange(height, device=device) + offsets[0],
            torch.arange(width, device=device) + offsets[1],
        )
        x = F.pad(x, (shift, shift, shift, shift)).index_select(2, rows).index_select(3, columns)
    return x
