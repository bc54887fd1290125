"""Training one network."""

from dataclasses import asdict
from pathlib import Path

from qnas.api.arguments import AnyGenotype, as_genotype, as_recipe, chosen_data, say_data
from qnas.checkpoints.store import default_checkpoint, load_checkpoint
from qnas.data.registry import find_data
from qnas.devices import pick_device
from qnas.exporters.winner import Winner, load_winner, write_winner
from qnas.quant.scheme import Bits
from qnas.runs.progress import Progress, silent, stage
from qnas.training.qat import deployed_accuracy, train_network
from qnas.training.recipe import Recipe


def train(
    genotype: AnyGenotype,
    bits: str | Bits = "",
    *,
    data: str | Path = "auto",
    ghn: str | Path | None = "",
    recipe: Recipe | str | Path | None = None,
    steps: int = 0,
    seed: int = 0,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Progress = silent,
) -> Winner:
    """Train one network, quantization-aware, and export it; the test images are read once, at the end.

    Args:
        genotype: which network.
        bits: its widths; the genotype's own if empty.
        data: see ``search``.
        ghn: checkpoint that predicts its initial parameters; the data's if empty, random ones if ``None``.
        recipe: how, or a file of that.
        steps: training steps, instead of the recipe's; 0 for those.
        seed: of initialization, noise and the order of the images.
        device: ``cpu``, ``cuda``, or ``auto``.
        out: folder to write; named after the network if there is none.
        progress: see ``qnas.api``.

    Returns:
        The trained network, as it lies in its folder.

    Raises:
        QnasError: an argument is wrong.
    """
    known, network = chosen_data(data), as_genotype(genotype, bits)
    how, target = as_recipe(recipe, steps), pick_device(device)
    model = None if ghn is None else load_checkpoint(str(ghn) or default_checkpoint(known)).ghn.to(target)
    images = find_data(known)
    say_data(known, data)
    report = stage(progress, "train")
    trained = train_network(
        network, images.to(target), how, seed, model, lambda step: report(step / how.steps, f"step {step}")
    ).cpu()
    validation, test = (deployed_accuracy(trained, part).top1 for part in (images.validation, images.test))
    settings = {"bits": str(network.bits), "data": known, "seed": seed, "recipe": asdict(how)}
    facts = {"settings": settings, "accuracy": {"trained": {str(how.steps): validation}, "test": test}}
    folder = Path(out) if out else Path("runs") / f"{images.name}-{network.key}"
    write_winner(folder, network, trained, images, facts)
    return load_winner(folder)
