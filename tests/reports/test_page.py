"""The page of a run: whole, safe whatever things are called, small, and the same for the same run."""

import html
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import qnas
from qnas.cli.errors import in_options
from qnas.data.registry import find_data
from qnas.exporters.card import call_of, recipe_of
from qnas.exporters.winner import write_winner
from qnas.nas.candidate import Candidate
from qnas.nas.limits import Limits
from qnas.nas.result import write_result
from qnas.nas.rungs import Selection
from qnas.nas.settings import SearchSettings
from qnas.network.build import build_plan
from qnas.network.costs import costs
from qnas.quant.scheme import Bits
from qnas.reports.page import accuracies, keep_page, page, write_page
from qnas.runs.folder import open_run
from qnas.sampling.generator import stream
from qnas.scores.predicted import Score
from qnas.scores.surrogate import Trust
from qnas.space.space import find_space
from qnas.training.recipe import Recipe
from qnas.training.start import untrained

HOSTILE = ("<script>alert(1)<", "b&\"c'd", "{{ 7 * 7 }}")
LITTER = "<i>notes.txt"
SECTIONS = {"asked", "winner", "accuracy", "search", "layers", "mistakes", "networks", "data", "again"}
VOID = {"meta", "link", "img", "br"}


class Reader(HTMLParser):
    """Reads a page: elements with their attributes, whether every element is closed in order, and its text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.words = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))
        self.open += [tag] if tag not in VOID else []

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += data if self.open[-1:] not in (["script"], ["style"]) else ""

    def named(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def photographs(folder: Path) -> Path:
    """Three classes with hostile names of twenty small images each."""
    rng = np.random.default_rng(0)
    for name in HOSTILE:
        (folder / name).mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(folder / name / f"{number}.png")
    (folder / HOSTILE[0] / LITTER).touch()
    return folder


def run_of(folder: Path, data: str, networks: int = 8, picks: int = 2, trusted: bool = True, **how: Any) -> Path:
    """The folder of a finished run whose winner nobody trained."""
    images = find_data(data)
    space = find_space("tiny").for_task(images.task)
    settings = SearchSettings(Bits(4, 4), data=data, recipe=Recipe(steps=24), trials=networks, top=picks, **how)
    hashes = {"images": images.fingerprint, "space_hash": space.digest, "ghn_hash": "0" * 16}
    open_run({**settings.identity(), **hashes}, folder, {"torch": torch.__version__})
    found = []
    for place, genotype in enumerate(islice(stream(space, 0, bits=settings.bits), networks)):
        plan = build_plan(genotype, images.task)
        candidate = Candidate.of(genotype, plan, costs(plan), Score(40.0 + place, 1.0, 0.1))
        candidate = replace(candidate, estimate=50.0 + place % 3) if trusted else candidate
        found.append(candidate.after(2, 45.0 + place) if place < networks - 1 or networks == 1 else candidate)
    best = [replace(one.after(24, 66.0 - place), test=60.0) for place, one in enumerate(found[:picks])]
    trust = Trust(networks - 1, 3.0, 0.5, 0.1) if trusted else None
    write_result(folder, settings, Selection([*best, *found[picks:]], best, best[:1], trust))
    network = untrained(build_plan(best[0].genotype, images.task), images, settings.recipe, 0)
    facts = {"settings": settings.identity(), "accuracy": {"trained": {"24": 66.0}, "test": 60.0}}
    network.frozen = True
    write_winner(folder / "winner", best[0].genotype, network.eval(), images, facts)
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"{photographs(tmp_path_factory.mktemp('page') / 'photo<b>s')}@8x8"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, data: str) -> Path:
    return run_of(tmp_path_factory.mktemp("page") / "run", data, limits=Limits(params=50_000))


@pytest.fixture(scope="module")
def text(run: Path) -> str:
    return page(run, in_options)


@pytest.fixture(scope="module")
def read(text: str) -> Reader:
    return Reader(text)


def test_every_section_is_there_and_linked(read: Reader) -> None:
    assert {section["id"] for section in read.named("section")} == SECTIONS
    assert {f"#{name}" for name in SECTIONS} <= {link["href"] for link in read.named("a")}
    assert read.open == []


def test_every_name_is_text(read: Reader, text: str) -> None:
    assert [name for name in HOSTILE if name not in read.words] == []
    assert text.count("<script>") == 1
    assert len(read.named("script")) == 1
    assert read.named("b") != []
    assert "photo<b>s" in read.words
    assert {HOSTILE[1]} <= {image["alt"].removeprefix("Training images of ") for image in read.named("img")}


def test_files_that_are_left_out_are_listed(read: Reader, run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "1 left out, no image by their endings" in read.words
    assert f"{HOSTILE[0]}/{LITTER}" in read.words
    monkeypatch.setattr("qnas.reports.page.FILES", 0)
    assert "And 1 more." in Reader(page(run)).words


def test_a_page_needs_nothing_else(read: Reader, text: str) -> None:
    assert re.findall(r"https?:|//[\w.]+\.\w|@import|url\(", text) == []
    sources = [one.get("src", "") or one.get("href", "") for tag in ("img", "link") for one in read.named(tag)]
    assert all(source.startswith("data:") for source in sources)
    assert all(link["href"].startswith("#") for link in read.named("a"))
    (policy,) = (one["content"] for one in read.named("meta") if "http-equiv" in one)
    assert policy.startswith("default-src 'none'; img-src data:;")


def test_every_network_has_a_row_that_its_marks_lead_to(read: Reader, run: Path) -> None:
    result = json.loads((run / "result.json").read_text(encoding="utf-8"))
    keys = [one["key"] for one in result["picks"] + result["candidates"]]
    assert sorted(one["id"] for one in read.named("tr") if "id" in one) == sorted(keys)
    marks = [link["href"][1:] for link in read.named("a") if "tabindex" in link]
    assert set(marks) == set(keys)
    assert len(marks) == 8 + (8 + 2) + 7  # scores; estimates and the picks' trained accuracies; all that were trained
    numbers = [one["number"] for one in result["picks"] + result["candidates"]]
    assert numbers == list(range(1, 9))


def test_tables_are_sorted_by_buttons_and_boxes_scrolled_by_keys(read: Reader) -> None:
    assert len(read.named("button")) == 8 + 4 + 1
    boxes = [one for one in read.named("div") if one.get("class") == "box"]
    assert all(box["tabindex"] == "0" and box["role"] == "region" and box["aria-label"] for box in boxes)
    assert all("aria-label" in figure or "aria-hidden" in figure for figure in read.named("svg"))
    assert all(image["alt"] for image in read.named("img"))


def test_the_same_run_has_the_same_page_wherever_it_lies(run: Path, text: str, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "elsewhere")
    assert page(tmp_path / "elsewhere", in_options) == text


def test_a_page_is_written_beside_its_run_or_where_one_says(run: Path, text: str, tmp_path: Path) -> None:
    assert write_page(run, tmp_path / "new" / "page.html", in_options).read_text(encoding="utf-8") == text
    assert qnas.report(run) == run / "report.html"
    assert in_options("`" + call_of(json.loads((run / "run.json").read_text())["settings"]) + "`") not in (
        run / "report.html"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(("networks", "picks", "trusted"), [(1, 1, False), (3, 1, True), (3, 3, False)])
def test_a_small_run_has_a_page(data: str, tmp_path: Path, networks: int, picks: int, trusted: bool) -> None:
    folder = run_of(tmp_path / "run", data, networks, picks, trusted, pareto=("macs", "params"))
    read = Reader(page(folder))
    assert {section["id"] for section in read.named("section")} == SECTIONS
    assert ("estimates rank with Kendall's tau 0.50" in read.words) == trusted
    assert ("too few short runs" in read.words) != trusted
    assert "Accuracy against MACs" in read.words
    assert "Accuracy against params" in read.words


def test_a_page_of_many_networks_stays_small(data: str, tmp_path: Path) -> None:
    folder = run_of(tmp_path / "run", data, 3, 1)
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    result["candidates"] = [
        {**result["candidates"][0], "key": f"{place:016x}-w4a4", "number": place} for place in range(5_000)
    ]
    (folder / "result.json").write_text(json.dumps(result), encoding="utf-8")
    text = page(folder)
    assert len(text) < 2_000_000
    assert "The best 500 of 5,001" in text


def test_images_that_are_gone_or_changed_are_missed_in_a_sentence(tmp_path: Path) -> None:
    place = photographs(tmp_path / "photos")
    folder = run_of(tmp_path / "run", f"{place}@8x8", 2, 1)
    Image.new("RGB", (8, 8)).save(place / HOSTILE[1] / "0.png")
    assert Reader(page(folder)).words.count("cannot be shown: The images have changed") == 2
    place.rename(tmp_path / "moved")
    assert Reader(page(folder)).words.count("cannot be shown: The images of a run lie where it says") == 2


def test_a_run_that_was_stopped_has_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_run({"bits": "w4a4"}, tmp_path / "run", {})
    with pytest.raises(qnas.QnasError, match=r"finish the run with the command that began it\.$"):
        write_page(tmp_path / "run")
    keep_page(tmp_path / "run")
    assert [record.message.count("\n") for record in caplog.records] == [0]
    assert "has no report.html" in caplog.text


def test_a_damaged_run_is_no_reason_for_a_search_to_fail(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = shutil.copytree(run, tmp_path / "run", ignore=shutil.ignore_patterns("report.html"))
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    (folder / "result.json").write_text(json.dumps({**result, "candidates": [{}]}), encoding="utf-8")
    keep_page(folder)
    assert "has no report.html" in caplog.text
    assert not (folder / "report.html").exists()
    with pytest.raises(qnas.QnasError, match="cannot be read as the result of a finished run"):
        write_page(folder)


def test_a_page_that_is_there_is_kept(tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("mine", encoding="utf-8")
    keep_page(tmp_path)
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize(("right", "count"), [(0, 12), (9, 12), (12, 12), (351, 360), (9160, 10000)])
def test_intervals_are_wilsons(right: int, count: int) -> None:
    """The closed form of Wilson (1927), at 1.959964 standard deviations."""
    share, z = right / count, 1.959963984540054
    middle = (share + z**2 / (2 * count)) / (1 + z**2 / count)
    half = z / (1 + z**2 / count) * (share * (1 - share) / count + z**2 / (4 * count**2)) ** 0.5
    rows = accuracies({"test": 100 * share, "best": 100 * share}, {"test": count, "validation": count})
    assert [row[0] for row in rows] == ["test", "validation"]
    for row in rows:
        assert row[3:] == pytest.approx((100 * (middle - half), 100 * (middle + half)), abs=1e-9)


def test_the_call_names_all_that_decides_a_run() -> None:
    settings = SearchSettings(
        Bits(4, 8), Limits(params=5000, latency=0.5), data="fashion", space="fashion", ghn="fashion", trials=48, top=2,
        seed=3, mixed=True, pareto=("macs", "latency"), minutes=10.0, edges=8, recipe=Recipe(rate=0.02),
    )  # fmt: skip
    assert in_options("`" + call_of(settings.identity()) + "`") == (
        "qnas search --bits w4a8 --max-params 5000 --max-latency 0.5 --pareto macs,latency --mixed --edges 8 "
        "--data fashion --space fashion --ghn fashion --sampler auto --trials 48 --top 2 --recipe recipe.toml "
        "--minutes 10.0 --seed 3"
    )
    assert "rate = 0.02\n" in recipe_of(settings.identity())
    assert recipe_of(SearchSettings(Bits(4, 4), recipe=Recipe(steps=7)).identity()) == ""


def test_the_snippets_run_as_they_stand(
    run: Path, read: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = np.random.default_rng(1).integers(0, 256, (5, 3, 8, 8), np.uint8)
    (snippet,) = re.findall(r"import numpy as np\nimport qnas\n.*?\nprint\(.*?\)\]?\)", read.words, re.S)
    monkeypatch.chdir(shutil.copytree(run, tmp_path / "run"))
    np.save("images.npy", images)
    said: list[Any] = []
    exec(snippet, {"print": said.append})
    files = [f"{number}.png" for number in range(len(images))]
    for name, image in zip(files, images, strict=True):
        Image.fromarray(image.transpose(1, 2, 0)).save(name)
    assert "\npython winner/predict.py photo.jpg\n" in f"\n{read.words}\n"
    command = [sys.executable, "winner/predict.py", *files]
    ended = subprocess.run(command, capture_output=True, encoding="utf-8", env={"PYTHONUTF8": "1"}, check=True)
    assert [line.split("\t")[1] for line in ended.stdout.splitlines()] == said[0]
    assert set(said[0]) <= set(HOSTILE)


CHROMIUM = shutil.which("chromium")


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    return [
        CHROMIUM or "", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--enable-logging=stderr",
        f"--user-data-dir={tmp_path / 'profile'}",
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
def test_a_browser_sorts_the_table_and_complains_of_nothing(browser: list[str], text: str, tmp_path: Path) -> None:
    """A press on the button of scores, written into the page's own script, whose hash its policy then must know."""
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    plain = subprocess.run(
        [*browser, "--dump-dom", (tmp_path / "page.html").as_uri()], capture_output=True, text=True, check=True
    )
    assert "CONSOLE" not in plain.stderr
    pressed = text.replace("</script>", 'document.querySelectorAll("table.sorts button")[3].click();</script>')
    pressed = re.sub("script-src 'sha256-[^']*'", "script-src 'unsafe-inline'", pressed)
    (tmp_path / "pressed.html").write_text(pressed, encoding="utf-8")
    driven = subprocess.run(
        [*browser, "--dump-dom", (tmp_path / "pressed.html").as_uri()], capture_output=True, text=True, check=True
    )
    assert "CONSOLE" not in driven.stderr
    scores = {one["id"]: row for one, row in zip(rows(text), scores_of(text), strict=True)}
    keys = [one["id"] for one in rows(driven.stdout)]
    assert [scores[key] for key in keys] == sorted(scores.values(), reverse=True)
    assert keys != list(scores)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium")
@pytest.mark.parametrize("dark", [False, True])
def test_a_page_is_read_on_a_phone_by_keyboard_and_in_the_dark(
    browser: list[str], text: str, tmp_path: Path, dark: bool
) -> None:
    """At 400 pixels nothing but boxes scrolls sideways, all that can be pressed is reached, and texts stand out."""
    frame = f'<iframe id="page" width="400" height="800" style="border:0" srcdoc="{html.escape(text)}"></iframe>'
    (tmp_path / "phone.html").write_text(f"<!doctype html>{frame}<script>{LOOK}</script>", encoding="utf-8")
    looked = subprocess.run(
        [*browser, *(["--force-dark-mode"] if dark else []), "--dump-dom", (tmp_path / "phone.html").as_uri()],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "CONSOLE" not in looked.stderr
    (found,) = re.findall(r"<title>(.*?)</title>", looked.stdout)
    seen = json.loads(html.unescape(found))
    assert (seen["dark"], seen["width"], seen["wider"]) == (dark, 400, 0)
    assert (seen["unreached"], seen["unseen"]) == ([], [])
    assert seen["texts"] > 100
    assert seen["faint"] == []


LOOK = (Path(__file__).parent / "look.js").read_text(encoding="utf-8")


def rows(text: str) -> list[dict[str, str]]:
    """The rows of the table of networks."""
    return [one for one in Reader(text).named("tr") if "id" in one]


def scores_of(text: str) -> list[float]:
    """The scores in them."""
    return [float(score) for score in re.findall(r"<tr id=.*?</th><td>\d*</td><td>\d+</td><td>([\d.]+)</td>", text)]
