"""A finished search as one page of HTML that needs no other file and no network.

It says what was asked, what was found, how far that can be trusted, and how to have it again. Equal runs have equal
pages. The test images are not read: what was measured on them stands in the run's result.
"""

import base64
import hashlib
import io
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from qnas.data.batches import evaluation_batches
from qnas.data.images import DataSet
from qnas.data.registry import find_again
from qnas.data.survey import GAP, contact_sheet, face
from qnas.devices import computing
from qnas.errors import QnasError
from qnas.exporters.card import PREDICT, call_of, recipe_of
from qnas.exporters.drawing import does, drawing, output_bits
from qnas.exporters.manifest import model_bytes, read_manifest
from qnas.exporters.parity import Parity
from qnas.exporters.templates import templates_in
from qnas.exporters.winner import Winner, load_winner
from qnas.nas import pareto
from qnas.nas.picks import winner_of
from qnas.nas.result import RESULT, read_result
from qnas.network.costs import layer_costs
from qnas.network.instructions import layer_instructions
from qnas.reports.charts import Chart, Mark, chart, records
from qnas.reports.search import COSTS, COUNTED, PAGE, Typed, amount, classes_line, trusted
from qnas.runs.files import write_bytes
from qnas.runs.folder import read_run
from qnas.runs.identity import IMAGES
from qnas.runs.reading import reading
from qnas.scores.accuracy import interval

ALL_COSTS = COSTS | COUNTED
LOOKED, WRONG = 2_000, 24
"""Validation images that are looked at, and those of them that are shown because the network is wrong about them."""
LISTED, CLASSES, FILES = 500, 24, 1_000
"""Networks, classes and left out files of a kind that are shown at most, so that a page stays small."""
SIDE, STRIP = 64, 640
"""Most pixels of a shown image's side, and of a row of images."""
log = logging.getLogger("qnas")


def write_page(run: Path, out: Path | None = None, typed: Typed = str) -> Path:
    """Write the page of a finished run.

    Args:
        run: its folder.
        out: file to write; in the run's folder if none is given, which is what its links to the winner mean.
        typed: writes a call between backticks as its reader types it.

    Returns:
        The file.

    Raises:
        QnasError: the run is not finished, or its files are damaged.
    """
    path = out or run / PAGE
    write_bytes(path, page(run, typed).encode())
    return path


def keep_page(run: Path, typed: Typed = str) -> None:
    """Write the page of a finished run if there is none; where that fails it is said, for the run has its result."""
    if (run / PAGE).is_file():
        return
    try:
        write_page(run, None, typed)
    except Exception as error:  # whatever it is, it is no reason for a search to fail
        log.warning("The run has no %s: %s", PAGE, " ".join(str(error).split()) or type(error).__name__)


def page(run: Path, typed: Typed = str) -> str:
    """The page of a finished run (see ``write_page``)."""
    folder = Path(__file__).parent
    script = (folder / "page.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    with reading(run / RESULT, "the result of a finished run", "search again with another `out`"), computing(1):
        facts = facts_of(run, typed)
    templates = templates_in(folder)
    templates.filters["amount"] = amount
    return templates.get_template("page.html").render(**facts, script=script, digest=digest)


def facts_of(run: Path, typed: Typed) -> dict[str, Any]:
    """All that the template shows, as plain values and the records of ``qnas.reports.charts``."""
    result, began = read_result(run), read_run(run)
    settings, folder = began["settings"], winner_of(run)
    manifest, winner = read_manifest(folder), load_winner(folder)
    data, missing = data_of(settings)
    networks = [seen(one) for one in [*result["picks"], *result["candidates"]]]
    listed = [*networks[: len(result["picks"])], *sorted(networks[len(result["picks"]) :], key=promise)][:LISTED]
    calibration, parity = result["calibration"], Parity.from_json(manifest["parity"])
    return {
        "settings": settings,
        "images": settings["images"],
        "manifest": manifest,
        "model_bytes": model_bytes(manifest),
        "parity": parity,
        "winner": networks[0],
        "asked": [(name, settings["limits"].get(key, 0), networks[0][key]) for key, name in ALL_COSTS.items()],
        "accuracies": accuracies(networks[0], settings["images"]),
        "classes_line": classes_line(manifest["validation"], manifest["images"]["classes"]),
        "trust": trusted(result, manifest["validation"]),
        "charts": charts(networks, listed, settings, calibration),
        "drawing": drawing(winner.plan),
        "layers": layers(winner),
        "confusion": confusions(manifest["validation"]["confusion"], manifest["images"]["classes"]),
        "wrong": mistakes(winner, data) if data else None,
        "looked": min(LOOKED, settings["images"]["validation"]),
        "networks": listed,
        "screened": len(networks),
        "costs": {key: name for key, name in ALL_COSTS.items() if any(one[key] for one in networks)},
        "classes": classes(data) if data else None,
        "left_out": data.left_out if data else {},
        "most_files": FILES,
        "missing": typed(missing),
        "predict": PREDICT if (winner.folder / PREDICT).is_file() else "",
        "call": call_of(settings),
        "command": typed("`" + call_of(settings) + "`"),
        "recipe": recipe_of(settings),
        "versions": {
            "qnas, when it began": began["qnas"], **manifest["versions"],
            parity.runtime: parity.runtime_version,
        },
    }  # fmt: skip


def data_of(settings: dict[str, Any]) -> tuple[DataSet | None, str]:
    """The images of a run, or why there are none."""
    try:
        return find_again(settings["data"], settings.get(IMAGES, {})), ""
    except QnasError as error:
        return None, str(error)


def seen(network: dict[str, Any]) -> dict[str, Any]:
    """A network of a result with its longest run, and a line that says what is known of it.

    Its number is 0 in results of before networks were numbered.
    """
    genotype, steps = network["genotype"], max(network["trained"], key=int, default="")
    trained = network["trained"].get(steps)
    branches = [branch for name in ("normal", "reduction") for step in genotype[name] for branch in step]
    kinds = ", ".join(dict.fromkeys(f"{operation} {kernel}" for _, operation, kernel, *_ in branches))
    kind = f"{genotype['cells']} cells, {genotype['channels']} channels, {kinds}"
    found = [f"score {network['score']:.1f} %"]
    found += [f"estimate {network['estimate']:.1f} %"] if network["estimate"] is not None else []
    found += [f"{trained:.1f} % after {steps} steps"] if trained is not None else []
    spent = [f"{amount(network[key])} {name}" for key, name in ALL_COSTS.items() if network[key]]
    text = f"{network['key']}: {kind}; {', '.join(found)}; {', '.join(spent)}"
    return {"number": 0, **network, "steps": steps, "best": trained, "kind": kind, "text": text}


def promise(network: dict[str, Any]) -> tuple[float, float]:
    """What networks that are no picks are sorted by, the best first."""
    return -expected(network), -network["score"]


def expected(network: dict[str, Any]) -> float:
    """What a network that was not trained is thought to reach, in per cent."""
    return float(network["score"] if network["estimate"] is None else network["estimate"])


def accuracies(winner: dict[str, Any], images: dict[str, Any]) -> list[tuple[str, float, int, float, float]]:
    """On either part: accuracy in per cent, the number of images, and the ends of its 95 % interval (Wilson, 1927)."""
    measured = {"test": winner["test"], "validation": winner["best"]}
    return [(part, found, images[part], *interval(found, images[part])) for part, found in measured.items()]


def charts(
    networks: list[dict[str, Any]],
    listed: list[dict[str, Any]],
    settings: dict[str, Any],
    calibration: dict[str, Any] | None,
) -> list[Chart]:
    """The figures of a search.

    Args:
        networks: all, of which lines are drawn.
        listed: those that have marks, picks first.
        settings: of the run.
        calibration: of its estimates, if it has any.

    Returns:
        Best score so far, where networks are numbered; accuracy against each cost that counts; trained accuracy
        against score.
    """
    full = calibration and calibration.get("estimates") == "full runs"
    thought = f"estimate, after a {'full' if full else 'short'} run" if calibration else "score"
    marks = [mark(one, one["number"], one["score"], 2 if "front" in one else 0) for one in listed]
    kinds, scored = {0: "score", 2: "of one trained in full"}, sorted(networks, key=lambda one: int(one["number"]))
    best = records((one["number"], one["score"]) for one in scored)
    found = [chart("Best score so far", ("networks scored", "score, %"), marks, kinds, best, "best so far")]
    found = found if scored[0]["number"] else []
    limits = [key for key, limit in settings["limits"].items() if limit]
    for cost in settings["pareto"] or limits[:1] or ["weight_bytes"]:
        points = [(-expected(one), one[cost]) for one in networks]
        front = sorted((points[place][1], -points[place][0]) for place in pareto.fronts(points)[0])
        marks = [mark(one, one[cost], expected(one), 0) for one in listed]
        marks += [mark(one, one[cost], one["best"], 2) for one in listed if "front" in one]
        axes, kinds = (ALL_COSTS[cost], "accuracy, %"), {0: thought, 2: "trained in full"}
        found.append(chart(f"Accuracy against {axes[0]}", axes, marks, kinds, front, "Pareto front of the former"))
    lengths = sorted({int(one["steps"]) for one in listed if one["steps"]}, reverse=True)
    places = {steps: max(0, 2 - place) for place, steps in enumerate(lengths)}
    marks = [mark(one, one["score"], one["best"], places[int(one["steps"])]) for one in listed if one["steps"]]
    kinds = {place: f"after {steps:,} steps" for steps, place in reversed(places.items())}
    return [*found, chart("Trained accuracy against score", ("score, %", "trained, %"), marks, kinds)]


def mark(network: dict[str, Any], x: float, y: float, kind: int) -> Mark:
    """A network in a figure, which leads to its row."""
    return Mark(x, y, network["text"], kind, network["key"])


def layers(winner: Winner) -> list[dict[str, Any]]:
    """Every layer of a network with its widths and costs, and the shares of the costs in those of the whole network."""
    counted = layer_instructions(winner.plan)
    spent = [replace(one, instructions=count) for one, count in zip(layer_costs(winner.plan), counted, strict=True)]
    whole = {key: max(1, sum(getattr(one, key) for one in spent)) for key in ("macs", "weight_bytes", "instructions")}
    rows = []
    for node, one in zip(winner.plan.nodes, spent, strict=True):
        shares = {key: round(100 * getattr(one, key) / total, 1) for key, total in whole.items()}
        rows.append(
            {
                "node": node,
                "does": does(node),
                "bits": output_bits(winner.plan, node),
                "costs": one,
                "shares": shares,
                "weights": bool(one.params),
            }
        )
    return rows


def confusions(table: list[list[int]], names: list[str]) -> dict[str, Any]:
    """The rows and columns of those classes that are mistaken most often, in their order, and each recall."""
    missed = [sum(row) + sum(other[place] for other in table) - 2 * row[place] for place, row in enumerate(table)]
    shown = sorted(sorted(range(len(names)), key=lambda place: -missed[place])[:CLASSES])
    rows = [
        (
            names[place],
            [(table[place][other], table[place][other] / max(1, sum(table[place]))) for other in shown],
            (100 * table[place][place] / sum(table[place])) if any(table[place]) else None,
        )
        for place in shown
    ]
    return {"names": [names[place] for place in shown], "rows": rows, "all": len(names)}


@torch.no_grad()
def mistakes(winner: Winner, data: DataSet) -> list[dict[str, Any]]:
    """Validation images that the winner is wrong about, those first that it is surest of."""
    images, names = data.validation.first(LOOKED), data.task.names
    chances = torch.cat([winner(x).softmax(1) for x, _ in evaluation_batches(images, 256)])
    sure, said = chances.max(1)
    wrong = (said != images.labels).nonzero().flatten()
    wrong = wrong[sure[wrong].argsort(descending=True, stable=True)][:WRONG]
    brightest = int(data.train.pixels.max())
    return [
        {
            "image": as_uri(face(images.pixels[place].numpy(), brightest), SIDE),
            "is": names[int(images.labels[place])],
            "said": names[int(said[place])],
            "sure": 100 * float(sure[place]),
        }
        for place in wrong.tolist()
    ]


def classes(data: DataSet) -> list[dict[str, Any]]:
    """Every class with its counts and its first training images."""
    sheet, height = contact_sheet(data), data.task.image[1] + GAP
    counts = [
        part.labels.bincount(minlength=data.task.classes).tolist() for part in (data.train, data.validation, data.test)
    ]
    rows = []
    for place, name in enumerate(data.task.names[:CLASSES]):
        strip = sheet.crop((0, place * height, sheet.width, (place + 1) * height - GAP))
        rows.append({"name": name, "counts": [part[place] for part in counts], "image": as_uri(strip, STRIP)})
    return rows


def as_uri(image: Image.Image, most: int) -> str:
    """An image, made smaller where its longer side has more pixels than ``most``, as the text of a PNG file."""
    image.thumbnail((most, most))
    png = io.BytesIO()
    image.save(png, "png", optimize=True)
    return "data:image/png;base64," + base64.b64encode(png.getvalue()).decode()
