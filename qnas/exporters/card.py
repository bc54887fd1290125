"""What a winner's folder holds for a stranger: a model card, and a program that says what a photo shows.

Both follow from the manifest alone. The card's head is the one that Hugging Face's hub reads.
"""

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from qnas.data.pixels import eight_bit
from qnas.data.registry import said, sized
from qnas.errors import printable
from qnas.exporters.drawing import DRAWING
from qnas.exporters.registry import MODEL, find_profile
from qnas.exporters.templates import templates_in
from qnas.quant.choices import USUAL
from qnas.scores.accuracy import interval
from qnas.training.recipe import Recipe

CARD, PREDICT = "README.md", "predict.py"
TEMPLATES = Path(__file__).parent


def guides(manifest: dict[str, Any]) -> dict[str, bytes]:
    """The card, and the program where onnxruntime runs the model and image files have its channels, by their names."""
    found = {PREDICT: program()} if manifest["model"] == MODEL and manifest["images"]["mode"] else {}
    return {name: text.encode() for name, text in {CARD: card(manifest, PREDICT in found), **found}.items()}


def program() -> str:
    """The text of ``predict.py``, which makes pixels of a file by the very function that read the training images."""
    text = (TEMPLATES / "predict.txt").read_text(encoding="ascii")
    return text.replace("@eight_bit@", inspect.getsource(eight_bit))


def prepared(images: dict[str, Any]) -> str:
    """How images are prepared, in words, from the values of a manifest."""
    _, height, width = images["shape"]
    colour = {"L": "grey", "RGB": "in colour"}.get(images["mode"], "as many channels as there are")
    steps = [
        f"first frame, upright, alpha over white, resized to {height} x {width} pixels, height x width (Pillow, "
        f"{images['resize'].lower()} with antialiasing), {colour}, 8 bits"
    ]
    steps += [f"white made {images['highest']}"] if images["highest"] != 255 else []
    if images["input"]["type"] == "uint8":
        return "; ".join([*steps, "these pixels as they are, row after row, the channels of a pixel side by side"])
    return "; ".join([*steps, "then (pixel - mean) / deviation for each channel"])


def card(manifest: dict[str, Any], predict: bool) -> str:
    """A winner's README, as Markdown with a head in YAML.

    Args:
        manifest: of the winner.
        predict: whether ``predict.py`` lies beside it.
    """
    templates = templates_in(TEMPLATES, autoescape=False, keep_trailing_newline=True)
    templates.filters |= {"text": in_markdown, "yaml": in_yaml}
    settings, images = manifest["facts"]["settings"], manifest["images"]
    text = templates.get_template("card.jinja").render(
        **manifest,
        title=f"{images['data']}, {settings['bits']}: {manifest['costs']['params']:,} parameters",
        bits=settings["bits"],
        licence=images["licence"],
        accuracies=accuracies(manifest),
        needs=find_profile(manifest["profile"]).needs,
        predict=predict,
        drawing=DRAWING,
        call=call_of(settings, near=True),
        recipe=recipe_of(settings),
    )
    return re.sub(r"\n{3,}", "\n\n", text)


def accuracies(manifest: dict[str, Any]) -> list[tuple[str, float, int, float, float]]:
    """Of the test and validation images: accuracy in per cent, their number, and the ends of its 95 % interval."""
    known, counts = manifest["facts"]["accuracy"], manifest["images"]["counts"]
    measured = {"validation": manifest["parity"]["torch_top1"]}
    if known.get("test") is not None:
        measured = {"test": known["test"], **measured}
    return [(part, found, counts[part], *interval(found, counts[part])) for part, found in measured.items()]


def call_of(settings: dict[str, Any], near: bool = False) -> str:
    """The call that makes such a run: all that was decided then, whatever defaults will be, but not the folder.

    Nothing for a network that went on from the weights of another, and where settings do not say enough.

    Args:
        settings: of the run.
        near: whether paths become the names of what lies there: a stranger has it elsewhere.
    """
    if "seed" not in settings or "start" in settings:
        return ""
    network = settings.get("network")
    if network is None:
        names = ("mixed", "edges", "data", "image", "space", "ghn", "sampler", "trials", "top")
        given = {f"max_{name}": limit for name, limit in settings.get("limits", {}).items()}
        given |= {"pareto": ",".join(settings.get("pareto", ())), **{name: settings.get(name) for name in names}}
    else:
        given = {name: settings.get(name) for name in ("data", "image", "ghn", "threads")}
    place, size = sized(settings["data"])
    given |= {"data": str(place), "image": said(size) if size else ""}
    if near:
        given |= {name: Path(given[name]).name for name in ("data", "ghn", "space") if given.get(name)}
    grid = Recipe.from_json(settings["recipe"]).grid if settings.get("recipe") else USUAL
    given |= {"target": (settings.get("target") or {}).get("name", ""), "grid": "" if grid == USUAL else grid}
    given |= {"recipe": "recipe.toml" if recipe_of(settings) else ""}
    length = next((name for name in ("minutes", "epochs") if settings.get(name)), "steps")
    chosen = {name: value for name, value in {**given, length: settings.get(length)}.items() if value}
    if network is None:
        chosen, verb = {"bits": settings["bits"], **chosen}, "qnas.search("
    else:
        verb = f"qnas.train({network!r}, " if "network" in network else "qnas.train('genotype.json', "
        chosen |= {} if chosen.get("ghn") else {"ghn": None}
    return f"{verb}{', '.join(f'{name}={value!r}' for name, value in chosen.items())}, seed={settings['seed']})"


def recipe_of(settings: dict[str, Any]) -> str:
    """The file of a run's recipe, where it is not the usual one; nothing for runs of before recipes were said."""
    if not {"grid", "weights"} & set(settings.get("recipe", {})):
        return ""
    recipe = Recipe.from_json({**settings["recipe"], "steps": settings["steps"]})
    return "" if recipe == replace(Recipe(), steps=recipe.steps, grid=recipe.grid) else recipe.to_toml()


def in_markdown(text: str) -> str:
    """A text that stands in Markdown as it is."""
    return re.sub(r"([\\`*_\[\]<>|~&$])", r"\\\1", printable(text))


def in_yaml(text: str) -> str:
    """A text as YAML reads it back."""
    return json.dumps(printable(text), ensure_ascii=False)
