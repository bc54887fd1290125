"""Networks that nobody has trained: draw them, predict their parameters, score them."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from qnas.api.arguments import (
    AnyArchitecture,
    as_architecture,
    as_bits,
    chosen_data,
    say_checkpoint,
    say_data,
    scored_images,
)
from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.data.registry import Size, find_data
from qnas.devices import pick_device
from qnas.errors import at_least_one, check_seed
from qnas.network.build import build_plan
from qnas.quant.scheme import Bits
from qnas.sampling.generator import check_part, stream
from qnas.scores.closed_form import predictor_for
from qnas.scores.predicted import Score, measure
from qnas.space.genotype import Genotype
from qnas.space.space import find_space


def sample(
    space: str | Path = "mobile",
    count: int = 10,
    *,
    split: str = "id",
    part: str = "all",
    bits: str | Bits = "fp32",
    seed: int = 0,
) -> Iterator[Genotype]:
    """Draw different architectures of a space, within its limits: the same ones for the same seed.

    Args:
        space: name or ``.toml`` file of a search space.
        count: how many.
        split: ``id``, ``deep``, ``wide`` or ``bn_free``.
        part: ``train``, ``held_out`` (never used to train a hypernetwork), or ``all``.
        bits: widths that each carries.
        seed: of the draw.

    Returns:
        One after another, so that any number of them takes little memory.

    Raises:
        QnasError: an argument is wrong, or the space's limits let too few networks through.
    """
    at_least_one({"count": count})
    check_seed(seed)
    check_part(part)
    return islice(stream(find_space(str(space)).of_split(split), seed, part, as_bits(bits)), count)


def predict(genotype: AnyArchitecture, bits: str | Bits = "", *, ghn: str | Path = "digits") -> dict[str, Tensor]:
    """All parameters of a network in one forward pass of a hypernetwork, without training.

    Args:
        genotype: which network, or the name of a hand-made one.
        bits: widths that it is meant for; the genotype's own if empty.
        ghn: name or folder of a checkpoint.

    Returns:
        A tensor for every parameter by its name, such as ``stem/weight`` (Cout, Cin / groups, kh, kw), ``norm_weight``
        and ``norm_bias`` (Cout,) of its batch norm, or ``bias`` (Cout,) where it has none.

    Raises:
        QnasError: the checkpoint cannot be used, or not for such a network.
    """
    checkpoint = load_checkpoint(str(ghn))
    plan = build_plan(as_architecture(genotype, bits), checkpoint.task)
    with torch.no_grad():
        parameters: dict[str, Tensor] = checkpoint.ghn([plan])[0]
    return parameters


def score(
    genotype: AnyArchitecture,
    bits: str | Bits = "",
    *,
    data: str | Path = "auto",
    image: Size = "",
    ghn: str | Path = "",
    part: str = "validation",
    images: int = 0,
    device: str = "auto",
) -> Score:
    """How a network does with predicted parameters, untrained, at its deployed bit widths.

    Args:
        genotype: which network, or the name of a hand-made one.
        bits: its widths; the genotype's own if empty.
        data: ``auto``, the name of a known data set, or a folder of images.
        image: see ``search``.
        ghn: name or folder of a checkpoint; the data's if empty.
        part: ``validation`` or ``test`` images.
        images: the first so many of them; 0 for all.
        device: ``cpu``, ``cuda``, or ``auto``.

    Returns:
        Accuracies in per cent, loss in nats, and what rounding alone costs.

    Raises:
        QnasError: an argument is wrong.
    """
    known, network, target = chosen_data(data, image), as_architecture(genotype, bits), pick_device(device)
    found = find_data(known).to(target)
    checkpoint = load_checkpoint(str(ghn) or default_checkpoint(known))
    model = predictor_for(checkpoint, found)
    scored = scored_images(found, part, images)
    plan = build_plan(network, found.task)
    say_data(known, data, found)
    say_checkpoint(checkpoint, found)
    with torch.no_grad():
        parameters = model([plan], whole=False)[0]
    return measure(plan, parameters, scored, model.weights)
