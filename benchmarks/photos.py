"""A folder of few photographs: is what a search finds at low bits at least as good as a plain float network?

    python benchmarks/photos.py --data cifar10 --classes cat ship frog --images 900 --minutes 10

Writes class folders of PNG files, as users have them, of some classes of a data set: training images of its training
part, test images of its test part. Then, in the same time each: ``qnas search`` on that folder, all included, and a
small float convolutional network such as people write, trained by PyTorch's own means with mirrors and shifts, and once
more for a quarter of the time. A line of each; the last line is JSON. What was searched lies in the folder of results.
"""

import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from common import finish, options, settle
from PIL import Image
from torch import Tensor, nn

import qnas
from qnas.data.images import Images
from qnas.data.registry import find_data

CORES, BATCH, SHIFT = 2, 32, 4


def write_folder(folder: Path, data: str, classes: list[str], images: int, tests: int) -> None:
    """Class folders below ``train`` and ``test``, each with its share of the images."""
    known = find_data(data)
    for part, given, count in (("train", known.train, images), ("test", known.test, tests)):
        for name in classes:
            place = folder / part / name
            place.mkdir(parents=True, exist_ok=True)
            chosen = (given.labels == known.task.names.index(name)).nonzero().flatten()[: count // len(classes)]
            for number in chosen.tolist():
                pixels = given.pixels[number].permute(1, 2, 0).numpy()
                Image.fromarray(pixels.squeeze()).save(place / f"{number:05}.png")


def layer(before: int, after: int) -> list[nn.Module]:
    """Convolution, norm, ReLU and pool."""
    return [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]


def plain_network(channels: int, classes: int) -> nn.Sequential:
    """Three convolutions, each of half the resolution of the one before and twice the channels."""
    body = [*layer(channels, 32), *layer(32, 64), *layer(64, 128)]
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, classes))


def augmented(x: Tensor) -> Tensor:
    """A batch shifted and perhaps mirrored as a whole, as short scripts do it."""
    down, right = torch.randint(-SHIFT, SHIFT + 1, (2,)).tolist()
    x = torch.roll(x, (down, right), (2, 3))
    return x.flip(3) if torch.rand(()) < 0.5 else x


def trained(train: Images, classes: int, seconds: float) -> nn.Sequential:
    """The plain network after so much time of Adam with a cosine of time."""
    network, started = plain_network(train.pixels.shape[1], classes), time.perf_counter()
    optimizer = torch.optim.Adam(network.parameters(), 1e-3)
    while (passed := (time.perf_counter() - started) / seconds) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 0.5e-3 * (1 + torch.cos(torch.tensor(torch.pi * passed)).item())
        x, labels = train.batch(torch.randint(0, len(train), (BATCH,)))
        loss = F.cross_entropy(network(augmented(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return network.eval()


@torch.no_grad()
def accuracy(network: nn.Module, images: Images) -> float:
    """Top-1 in per cent."""
    x, labels = images.batch(slice(0, len(images)))
    return 100 * (network(x).argmax(1) == labels).float().mean().item()


def main() -> None:
    """Write the folder, search, and train the others."""
    given = options(
        __doc__, data="cifar10", classes=(["cat", "ship", "frog"], "of the data set"), images=(900, "for training"),
        tests=(600, "for the test"), bits="w4a4", minutes=(10.0, "time of each way"), seeds=1,
        max_weight_bytes=(32_768.0, "of the search's networks"), out=Path("benchmarks/results/photos"),
    )  # fmt: skip
    settle(CORES)
    folder = given.out / "photos"
    if not folder.is_dir():
        write_folder(folder, given.data, given.classes, given.images, given.tests)
    photos, results = find_data(str(folder)), list[dict[str, Any]]()
    for seed in range(given.seeds):
        run = qnas.search(
            given.bits, max_weight_bytes=given.max_weight_bytes, data=folder, minutes=given.minutes, seed=seed,
            workers=CORES, out=given.out / f"search-{given.minutes:g}-{seed}",
        )  # fmt: skip
        found = {"test": run.winner.accuracies["test"], "weight_bytes": run.winner.costs.weight_bytes}
        results.append({"way": f"qnas {given.bits}", "minutes": given.minutes, "seed": seed, **found})
        print(*results[-1].values(), flush=True)
        for minutes in (given.minutes, given.minutes / 4):
            torch.manual_seed(seed)
            network = trained(photos.train, photos.task.classes, 60 * minutes)
            size = 4 * sum(parameter.numel() for parameter in network.parameters())
            test = accuracy(network, photos.test)
            results.append({
                "way": "float", "minutes": minutes, "seed": seed, "test": test, "weight_bytes": size
            })  # fmt: skip
            print(*results[-1].values(), flush=True)
    finish(images=len(photos.train) + len(photos.validation), tests=len(photos.test), results=results)


if __name__ == "__main__":
    main()
