"""Training batches on the device: seeded, shuffled each pass, each image augmented on its own if its data allow it."""

from collections.abc import Iterator
from itertools import count
from math import pi
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from qnas.data.images import DataSet, Images
from qnas.digest import digest


class Augmentation(NamedTuple):
    """How training images are changed, each on its own.

    Args:
        shift: by up to how many pixels each way; black moves in.
        mirror: whether a half of them is mirrored.
        erase: the share of images that lose a random rectangle to grey (Zhong et al., 2020).
        flip: whether a half of them is turned upside down.
        zoom: in or out by up to which share; black moves in.
        turn: by up to how many degrees each way; black moves in.
    """

    shift: int = 0
    mirror: bool = False
    erase: float = 0.0
    flip: bool = False
    zoom: float = 0.0
    turn: float = 0.0


AREA, LONGEST = (0.02, 0.25), 2.0
"""Smallest and largest share of an image that is erased, and the largest ratio of the rectangle's sides."""


def usual(data: DataSet) -> Augmentation:
    """Shifts and mirrors, as the data set allows them."""
    return Augmentation(data.shift, data.is_mirrored())


def random_batch(data: DataSet, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """One batch of distinct training images, shifted and mirrored, and their labels."""
    which = torch.randperm(len(data.train), generator=generator, device=generator.device)[:size]
    return augmented(data.train, which, usual(data), generator)


def training_batches(
    data: DataSet, size: int, seed: int, how: Augmentation | None = None, start: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless full batches of training images, each image once a pass, augmented.

    Args:
        data: whose ``train`` part is used.
        size: images a batch, at most all of them.
        seed: every pass and every batch has a generator of its own that follows from it.
        how: they are augmented; as usual for the data if nobody says.
        start: how many batches are passed over, at no cost.
    """
    images, how = data.train, usual(data) if how is None else how
    generator = torch.Generator(images.labels.device)
    size = min(size, len(images))
    in_pass = len(images) // size
    order = torch.empty(0)
    for number in count(start):
        if number % in_pass == 0 or number == start:
            generator.manual_seed(mixed(seed, number // in_pass))
            order = torch.randperm(len(images), generator=generator, device=generator.device)
        which = order[number % in_pass * size :][:size]
        yield augmented(images, which, how, generator.manual_seed(mixed(seed, number, 1)))


def mixed(*numbers: int) -> int:
    """A seed that follows from several numbers."""
    return int(digest(repr(numbers).encode()), 16) >> 1


def evaluation_batches(images: Images, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """All images in order."""
    for start in range(0, len(images), size):
        yield images.batch(slice(start, start + size))


def augmented(images: Images, which: Tensor, how: Augmentation, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Some images, augmented and normalised, (batch, channels, height, width), and their labels (batch,).

    The generator is on the device of the images, so that nothing waits for the device.
    """
    pixels = images.pixels[which]
    if how.shift or how.mirror:
        pixels = moved(pixels, how, generator)
    if how.flip or how.zoom or how.turn:
        pixels = warped(pixels.float(), how, generator)
    x = (pixels.float() - images.mean) / images.deviation
    if how.erase:
        x.masked_fill_(rectangles(x, how.erase, generator)[:, None], 0)
    return x, images.labels[which]


def moved(pixels: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Each of the images (batch, channels, height, width) shifted and perhaps mirrored, by one look-up of pixels."""
    batch, _, height, width = pixels.shape
    device = pixels.device
    rows, columns = torch.arange(height, device=device), torch.arange(width, device=device).expand(batch, width)
    if how.mirror:
        flips = torch.rand(batch, 1, generator=generator, device=device) < 0.5
        columns = torch.where(flips, width - 1 - columns, columns)
    down, right = torch.randint(0, 2 * how.shift + 1, (2, batch, 1), generator=generator, device=device)
    padded = F.pad(pixels, [how.shift] * 4)
    image = torch.arange(batch, device=device)[:, None, None]
    return padded.permute(0, 2, 3, 1)[image, (rows + down)[:, :, None], (columns + right)[:, None]].permute(0, 3, 1, 2)


def warped(pixels: Tensor, how: Augmentation, generator: torch.Generator) -> Tensor:
    """Each of the images (batch, channels, height, width) zoomed, turned and perhaps upside down, bilinear."""
    batch, _, height, width = pixels.shape
    zoom, turn, flip = torch.rand(3, batch, generator=generator, device=pixels.device)
    scale, angle = 1 + how.zoom * (2 * zoom - 1), how.turn * (2 * turn - 1) * (pi / 180)
    down = torch.where(flip < 0.5 * how.flip, -scale, scale)
    cosine, sine, none = angle.cos(), angle.sin(), torch.zeros_like(angle)
    rows = [scale * cosine, -scale * sine * (height / width), none, down * sine * (width / height), down * cosine, none]
    grid = F.affine_grid(torch.stack(rows, 1).view(batch, 2, 3), list(pixels.shape), align_corners=False)
    return F.grid_sample(pixels, grid, align_corners=False)


def rectangles(x: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Which pixels (batch, height, width) a ``share`` of the images lose: those of one random rectangle each."""
    batch, _, *sides = x.shape
    hit, area, ratio, *centre = torch.rand(5, batch, 1, generator=generator, device=x.device)
    root = (AREA[0] + (AREA[1] - AREA[0]) * area).sqrt()
    stretch = LONGEST ** (ratio - 0.5)
    inside = []
    for side, middle, half in zip(sides, centre, (root * stretch / 2, root / stretch / 2), strict=True):
        inside.append(((torch.arange(side, device=x.device) + 0.5) / side - middle).abs() < half)
    rows, columns = inside
    chosen: Tensor = rows[:, :, None] & columns[:, None] & (hit < share)[:, :, None]
    return chosen
