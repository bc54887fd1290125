"""What ``qnas`` offers: every verb on the digits with tiny settings, and what each says of a wrong argument."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

import qnas
from qnas.api.arguments import as_architecture
from qnas.api.train import check_start
from qnas.data.images import DataSet
from qnas.network.build import build_plan
from qnas.network.handmade import HandMade
from qnas.network.plan import Plan
from qnas.reports.search import COSTS
from qnas.runs.progress import Progress, silent
from qnas.scores.predicted import measure
from qnas.studies.benchmark_table import BenchmarkTable, load_table
from qnas.task import Task
from qnas.training import run as training_run

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "optuna", "numpy", "onnx", "typer")
Told = list[tuple[str, float, str]]


def measured(code: str) -> str:
    """What a fresh process prints."""
    ended = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    return ended.stdout.strip()


def noted(told: Told) -> Progress:
    """Progress that is written down."""
    return lambda stage, share, remark: told.append((stage, share, remark))


def check_progress(told: Told, *stages: str, whole: bool = True) -> None:
    """Every stage is told, its share goes from 0 to 1 and never back, and it ends at 1 where the stage is ``whole``."""
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == list(stages)
    for stage in stages:
        shares = [share for name, share, _ in told if name == stage]
        assert all(0 <= share <= 1 for share in shares)
        assert shares == sorted(shares)
        assert shares[-1] == 1 or not whole
    assert all(isinstance(remark, str) for _, _, remark in told)


def test_importing_the_package_brings_nothing_heavy() -> None:
    assert measured(f"import sys, qnas; print([name for name in {HEAVY} if name in sys.modules])") == "[]"


def test_importing_the_package_takes_no_time() -> None:
    code = "import time; began = time.perf_counter(); import qnas; print(time.perf_counter() - began)"
    assert min(float(measured(code)) for _ in range(5)) < 0.1  # a busy machine's, where 0.03 is usual


def test_all_names_are_offered_and_described() -> None:
    names = json.loads(measured("import json, qnas; print(json.dumps([n for n in dir(qnas) if n[0] != '_']))"))
    assert names == sorted(qnas.__all__)
    for name in names:
        assert getattr(qnas, name).__doc__
    assert qnas.__doc__
    assert qnas.__version__


def test_a_name_that_is_not_offered_is_no_attribute() -> None:
    with pytest.raises(AttributeError, match="module 'qnas' has no attribute 'serach'"):
        qnas.serach  # noqa: B018


@pytest.fixture(scope="module")
def genotype() -> qnas.Genotype:
    return next(qnas.sample("tiny", 1, bits="w4a4"))


@pytest.fixture(scope="module")
def plan(genotype: qnas.Genotype, digits_data: DataSet) -> Plan:
    return build_plan(genotype, digits_data.task)


@pytest.fixture(scope="module")
def checkpoint() -> qnas.Checkpoint:
    found = qnas.load("digits")
    assert isinstance(found, qnas.Checkpoint)
    return found


def test_a_sample_is_drawn_one_after_another_and_the_same_again() -> None:
    drawn = qnas.sample("tiny", 1_000_000, bits="w4a8", seed=2)
    first = [next(drawn) for _ in range(3)]
    assert first == list(qnas.sample("tiny", 3, bits=qnas.Bits(4, 8), seed=2))
    assert len({one.architecture for one in first}) == 3
    assert {one.bits for one in first} == {qnas.Bits(4, 8)}
    assert first != list(qnas.sample("tiny", 3, bits="w4a8", seed=3))


def test_a_prediction_is_the_hypernetworks_own_output(
    genotype: qnas.Genotype, plan: Plan, checkpoint: qnas.Checkpoint
) -> None:
    with torch.no_grad():
        expected = checkpoint.ghn([plan])[0]
    found = qnas.predict(genotype)
    assert found.keys() == expected.keys() == {slot.name for slot in plan.slots}
    for name, value in found.items():
        assert torch.equal(value, expected[name])
        assert not value.requires_grad
    for slot in plan.slots:
        assert tuple(found[slot.name].shape) == tuple(slot.shape)


def test_a_genotype_may_be_plain_values_or_a_file(genotype: qnas.Genotype, tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(genotype.to_json()), encoding="utf-8")
    expected = qnas.predict(genotype)
    for given in (genotype.to_json(), path, str(path), qnas.load(path)):
        found = qnas.predict(given)  # type: ignore[arg-type]
        assert all(torch.equal(value, expected[name]) for name, value in found.items())


def test_a_hand_made_network_may_be_its_name_plain_values_or_a_file(tmp_path: Path) -> None:
    made = HandMade("ds_cnn", 4, qnas.Bits(4, 4))
    (tmp_path / "made.json").write_text(json.dumps(made.to_json()))
    forms = ["ds_cnn", made, made.to_json(), tmp_path / "made.json"]
    assert [as_architecture(form, "w4a4", 4) for form in forms] == [made] * 4
    assert [as_architecture(form).width for form in forms] == [16, 4, 4, 4]
    assert [as_architecture(form, width=6).width for form in forms] == [6] * 4
    assert qnas.load(tmp_path / "made.json") == made


@pytest.mark.parametrize("bits", ["", "fp32", "w2a2"])
def test_a_score_is_that_of_the_predicted_parameters(
    genotype: qnas.Genotype, digits_data: DataSet, checkpoint: qnas.Checkpoint, bits: str
) -> None:
    own = genotype.with_bits(qnas.Bits.parse(bits)) if bits else genotype
    plan, images = build_plan(own, digits_data.task), digits_data.test.first(100)
    with torch.no_grad():
        expected = measure(plan, checkpoint.ghn([plan], whole=False)[0], images)
    found = qnas.score(genotype, bits, data="digits", part="test", images=100, device="cpu")
    assert isinstance(found, qnas.Score)
    assert found == expected


def test_without_a_part_networks_are_scored_on_all_validation_images(
    genotype: qnas.Genotype, plan: Plan, digits_data: DataSet, checkpoint: qnas.Checkpoint
) -> None:
    with torch.no_grad():
        expected = measure(plan, checkpoint.ghn([plan], whole=False)[0], digits_data.validation)
    assert qnas.score(genotype, data="digits", device="cpu") == expected


@pytest.fixture(scope="module")
def trained(genotype: qnas.Genotype, tmp_path_factory: pytest.TempPathFactory) -> tuple[qnas.Winner, Told]:
    told: Told = []
    out = tmp_path_factory.mktemp("trained") / "net"
    winner = qnas.train(genotype, data="digits", steps=3, device="cpu", out=out, progress=noted(told))
    return winner, told


@pytest.mark.export
def test_a_trained_network_is_a_module_with_all_that_is_known_of_it(
    trained: tuple[qnas.Winner, Told], genotype: qnas.Genotype, plan: Plan
) -> None:
    winner, told = trained
    assert isinstance(winner, qnas.Winner)
    assert isinstance(winner, torch.nn.Module)
    assert winner.genotype == genotype
    assert winner.costs.params == sum(torch.Size(slot.shape).numel() for slot in plan.slots)
    assert winner.accuracies.keys() == {"trained", "test"}
    assert winner.accuracies["trained"]["3"] > 20
    assert winner.accuracies["test"] > 20
    check_progress(told, "train")


@pytest.mark.export
def test_the_loss_of_a_winner_can_be_propagated_back(trained: tuple[qnas.Winner, Told], digits_data: DataSet) -> None:
    winner = qnas.load(trained[0].folder)
    assert isinstance(winner, qnas.Winner)
    x, labels = digits_data.train.batch(slice(0, 32))
    F.cross_entropy(winner.train()(x), labels).backward()
    gradients = [value.grad for name, value in winner.named_parameters() if "weight" in name]
    assert any(grad is not None and grad.abs().sum() > 0 for grad in gradients)


@pytest.mark.export
@torch.no_grad()
def test_a_winner_is_read_as_it_was_written(trained: tuple[qnas.Winner, Told], digits_data: DataSet) -> None:
    winner, _ = trained
    again = qnas.load(winner.folder)
    assert isinstance(again, qnas.Winner)
    x, _ = digits_data.test.batch(slice(0, 64))
    assert torch.equal(again(x), winner(x))
    assert (again.genotype, again.costs, again.accuracies) == (winner.genotype, winner.costs, winner.accuracies)


@pytest.mark.export
def test_a_winner_is_exported_again(trained: tuple[qnas.Winner, Told], tmp_path: Path) -> None:
    winner, _ = trained
    written = qnas.export(winner, out=tmp_path / "again")
    assert isinstance(written, qnas.Export)
    assert written.folder == tmp_path / "again"
    assert written.parity.same_class >= 99
    assert (written.folder / "model.onnx").read_bytes() == (winner.folder / "model.onnx").read_bytes()


@pytest.mark.export
def test_training_from_random_parameters_differs_and_a_seed_repeats_it(
    trained: tuple[qnas.Winner, Told], genotype: qnas.Genotype, tmp_path: Path
) -> None:
    few: dict[str, Any] = {"data": "digits", "steps": 3, "device": "cpu"}
    again = qnas.train(genotype, out=tmp_path / "again", **few)
    random = qnas.train(genotype, ghn=None, out=tmp_path / "random", **few)
    assert again.accuracies == trained[0].accuracies
    assert random.accuracies["test"] < again.accuracies["test"]


def test_a_training_that_ends_without_numbers_is_refused_and_leaves_no_winner(
    genotype: qnas.Genotype, tmp_path: Path
) -> None:
    wild = qnas.Recipe(5, rate=1e30)
    with pytest.raises(qnas.QnasError, match="is none after 5 steps; name another `out` and give a lower rate"):
        qnas.train(genotype, "w4a4", ghn=None, data="digits", recipe=wild, device="cpu", out=tmp_path / "wild")
    left = {path.name for path in (tmp_path / "wild").iterdir()}
    assert left - {"run.lock"} == {"run.json", "metrics.jsonl"}


@pytest.mark.export
def test_a_winner_goes_on_from_its_weights(trained: tuple[qnas.Winner, Told], tmp_path: Path) -> None:
    winner, few = trained[0], {"data": "digits", "steps": 1, "device": "cpu"}
    on = qnas.train(winner.folder, out=tmp_path / "on", **few)  # type: ignore[arg-type]
    assert on.genotype == winner.genotype
    distances = [(on.slots[name] - value).abs().max().item() for name, value in winner.slots.items()]
    assert 0 < max(distances) < 0.02  # a step of AdamW at 1e-2, from the very weights
    narrower = qnas.train(winner.folder, "w2a2", out=tmp_path / "narrower", **few)  # type: ignore[arg-type]
    assert narrower.genotype.bits == qnas.Bits(2, 2)
    random = qnas.train(winner.folder, ghn=None, out=tmp_path / "random", **few)  # type: ignore[arg-type]
    assert max((random.slots[name] - value).abs().max().item() for name, value in winner.slots.items()) > 0.1
    colour: Any = SimpleNamespace(task=Task((3, 8, 8), 7), name="colour")
    with pytest.raises(qnas.QnasError, match=r"are for images \(1, 8, 8\) of 10 classes, got colour"):
        check_start(winner, colour, winner.genotype)


def searched(out: Path, progress: Progress = silent, *, dry_run: bool = False) -> qnas.SearchRun:
    few: dict[str, Any] = {"trials": 4, "top": 2, "steps": 4, "max_params": 12_000, "dry_run": dry_run}
    return qnas.search("w4a4", data="digits", out=out, device="cpu", progress=progress, **few)


@pytest.fixture(scope="module")
def search(tmp_path_factory: pytest.TempPathFactory) -> tuple[qnas.SearchRun, Told]:
    told: Told = []
    return searched(tmp_path_factory.mktemp("searched") / "run", noted(told)), told


@pytest.mark.export
def test_a_dry_run_of_what_is_finished_says_so(
    search: tuple[qnas.SearchRun, Told], caplog: pytest.LogCaptureFixture
) -> None:
    folder = search[0].folder
    with caplog.at_level("INFO", "qnas"):
        assert searched(folder, dry_run=True).is_finished
    assert f"{folder} is finished: the same call without `dry_run` returns it." in caplog.messages


@pytest.mark.export
def test_a_run_reads_as_a_table(search: tuple[qnas.SearchRun, Told]) -> None:
    run, told = search
    assert isinstance(run, qnas.SearchRun)
    assert run.is_finished
    rows = run.rows
    assert len(rows) == run.result["screened"] == 4
    assert len({tuple(row) for row in rows}) == 1
    assert {"pick", "key", "score", "estimate", "test", "trained_1", "trained_4", *COSTS} <= rows[0].keys()
    assert all(value is None or isinstance(value, str | int | float) for row in rows for value in row.values())
    assert [row["pick"] for row in rows] == [1, 2, None, None]
    assert all(row["params"] <= 12_000 for row in rows)
    assert {stage for stage, _, _ in told} >= {"screen", "finish"}
    assert all(0 <= share <= 1 for _, share, _ in told)


@pytest.mark.export
def test_progress_tells_every_stage_to_its_end(search: tuple[qnas.SearchRun, Told]) -> None:
    told = search[1]
    check_progress(told, "screen", "calibrate", "halve", "finish", whole=False)
    check_progress([one for one in told if one[0] != "screen"], "calibrate", "halve", "finish")


@pytest.mark.export
@torch.no_grad()
def test_the_winner_of_a_run_is_its_first_pick(search: tuple[qnas.SearchRun, Told], digits_data: DataSet) -> None:
    run, _ = search
    winner, first = run.winner, run.rows[0]
    assert f"{winner.genotype.key}" == first["key"]
    assert winner.costs.params == first["params"]
    assert winner.accuracies["test"] == first["test"]
    assert run.parity["same_class"] >= 99
    again = qnas.load(winner.folder)
    assert isinstance(again, qnas.Winner)
    x, _ = digits_data.test.batch(slice(0, 64))
    assert torch.equal(again(x), winner(x))


@pytest.mark.export
def test_a_run_is_read_from_its_folder_and_continued_by_the_same_call(search: tuple[qnas.SearchRun, Told]) -> None:
    run, _ = search
    assert qnas.load(run.folder) == run
    before, told_again = (run.folder / "result.json").read_bytes(), Told()
    assert searched(run.folder, noted(told_again)) == run
    assert (run.folder / "result.json").read_bytes() == before
    assert told_again == []


@pytest.mark.export
def test_picks_of_a_run_are_exported(search: tuple[qnas.SearchRun, Told], tmp_path: Path) -> None:
    run, _ = search
    second = qnas.export(run, 2)
    assert second.folder == run.folder / "pick2"
    again = qnas.export(str(run.folder), 2, profile="unpacked", out=tmp_path / "again")
    assert again.folder == tmp_path / "again"
    assert again.parity.torch_top1 == second.parity.torch_top1
    loaded = qnas.load(again.folder)
    assert isinstance(loaded, qnas.Winner)
    assert loaded.genotype.key == run.rows[1]["key"]


@pytest.mark.export
def test_a_pick_or_a_profile_that_is_not_there_is_refused(search: tuple[qnas.SearchRun, Told], tmp_path: Path) -> None:
    refused(lambda: qnas.export(search[0], 9, out=tmp_path / "no"), "`pick`", "got 9", "qnas.show(")
    refused(lambda: qnas.export(search[0], profile="huge", out=tmp_path / "no"), "`profile`", "'huge'", "compact")
    assert not (tmp_path / "no").exists()


@pytest.mark.export
def test_a_folder_of_images_is_searched_at_once(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, colour in {"grass": (40, 160, 40), "sky": (40, 80, 200), "brick": (170, 60, 40)}.items():
        (tmp_path / "mine" / name).mkdir(parents=True)
        for number in range(40):
            pixels = np.clip(rng.normal(colour, 60, (24, 40, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "mine" / name / f"{number}.png")
    how: dict[str, Any] = {"max_macs": 2e6, "steps": 24, "trials": 4, "top": 1, "out": tmp_path / "run"}
    run = qnas.search("w4a4", data=tmp_path / "mine", **how)
    best = max(pick["score"] for pick in json.loads((tmp_path / "run" / "result.json").read_text())["picks"])
    assert best > 60  # of three classes, before any training
    assert run.winner.task.classes == 3
    assert run.winner.accuracies["test"] > 60
    (tmp_path / "mine").rename(tmp_path / "moved")
    refused(lambda: qnas.export(run), "if they lie elsewhere now, the command that began the run")
    assert qnas.search("w4a4", data=tmp_path / "moved", **how).rows == run.rows
    assert qnas.export(run, out=tmp_path / "again").parity.same_class == 100
    Image.new("RGB", (40, 24)).save(tmp_path / "moved" / "sky" / "7.png")
    refused(
        lambda: qnas.search("w4a4", data=tmp_path / "moved", **how),
        "the images themselves, or which class",
        "there",
        "another `out`",
    )


def test_a_dry_run_checks_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(training_run, "MEASURED", 0.1)
    with caplog.at_level("INFO", "qnas"):
        run = qnas.search(data="digits", max_params=20_000, max_macs=1e12, steps=36, workers=1, dry_run=True)
    assert "`max_macs` changes nothing: networks of space 'tiny' have at most 1,200,000." in caplog.messages
    assert not run.is_finished
    assert list(tmp_path.iterdir()) == []
    refused(lambda: run.rows, "result.json", "finish the run")


def test_a_checkpoint_is_trained_and_measured(tmp_path: Path) -> None:
    told: Told = []
    settings: dict[str, Any] = {"meta_batch": 1, "batch": 8, "seed": 1}
    made = qnas.fit_ghn(
        "digits", steps=2, out=tmp_path / "ghn", device="cpu", progress=noted(told), **settings
    )  # fmt: skip
    assert isinstance(made, qnas.Checkpoint)
    assert (made.data, made.space, made.path) == ("digits", "tiny", tmp_path / "ghn")
    assert (made.card["counters"]["step"], made.card["place"]) == (2, "digits")
    check_progress(told, "fit-ghn")

    loaded = qnas.load(tmp_path / "ghn")
    assert isinstance(loaded, qnas.Checkpoint)
    for name, value in made.ghn.state_dict().items():
        assert torch.equal(loaded.ghn.state_dict()[name], value), name

    before = qnas.load("digits")
    assert isinstance(before, qnas.Checkpoint)
    assert not before.ghn.config.knows_places
    on = {"start_from": "digits", "out": tmp_path / "on", "device": "cpu", "steps": 1, **settings}
    further = qnas.fit_ghn("digits", **on)
    assert further.ghn.config == replace(before.ghn.config, knows_places=True)
    again = qnas.fit_ghn("digits", resume=True, **on).ghn.state_dict()
    for name, value in further.ghn.state_dict().items():
        assert torch.equal(again[name], value), name

    told.clear()
    few: dict[str, Any] = {"networks": 2, "splits": ["id"], "bits": ["w4a4", qnas.Bits(2, 2)], "images": 64}
    table = qnas.evaluate_ghn(tmp_path / "ghn", device="cpu", card=True, progress=noted(told), **few)
    assert [(row.split, row.bits, row.n) for row in table.rows] == [("id", "w4a4", 2), ("id", "w2a2", 2)]
    assert (table.data, table.part, table.images, table.space) == ("digits", "test", 64, "tiny")
    assert len(table.networks) == 4
    assert loaded.card["table"] == json.loads(json.dumps(table.to_json()))
    check_progress(told, "eval-ghn")


def test_grids_and_classifiers_of_a_measured_checkpoint_can_be_chosen() -> None:
    tables = [
        qnas.evaluate_ghn("digits", networks=3, splits=["id"], bits=["w2a2"], device="cpu", **how)
        for how in ({}, {"weights": "tensor"}, {"weights": "channel"}, {"weights": "channel", "closed_head": True})
    ]
    assert [(table.weights, table.closed_head) for table in tables] == [
        ("tensor", False), ("tensor", False), ("channel", False), ("channel", True),
    ]  # fmt: skip
    found = [table.rows[0].qmse_mean for table in tables]
    assert found[0] == found[1]
    assert len(set(found)) == 3
    assert "a step a channel" in tables[2].title
    assert "fitted classifiers" in tables[3].title


def test_scores_are_judged_against_a_table(made_up_table: BenchmarkTable) -> None:
    judged = qnas.evaluate_proxy(made_up_table, labels=20)
    assert [(row.bits, row.n, row.labels) for row in judged.rows] == [("w4a4", 60, 20), ("w2a2", 60, 20)]
    assert (judged.data, judged.start, judged.steps) == ("digits", "random", 24)


@pytest.mark.parametrize("ghn", ["digits", None])
def test_layers_of_networks_end_as_they_are_scored(genotype: qnas.Genotype, ghn: str | None) -> None:
    told: Told = []
    networks: list[Any] = [genotype, "resnet8"]
    found = qnas.study_layers(
        networks, "w2a2", data="digits", ghn=ghn, images=100, device="cpu", progress=noted(told)
    )  # fmt: skip
    assert isinstance(found, qnas.LayersStudy)
    assert [one.network[:8] for one in found.networks] == [genotype.key[:8], "resnet8-"]
    assert [one.origin for one in found.networks] == ["predicted" if ghn else "random"] * 2
    if ghn:
        score = qnas.score(genotype, "w2a2", data="digits", images=100, device="cpu")
        last = found.networks[0].quantized
        assert last.top1 == score.top1
        assert (last.qmse, last.qce) == pytest.approx((score.qmse, score.qce), rel=1e-5)
    assert len(found.rows) == sum(len(one.rows) for one in found.networks)
    assert len({tuple(row) for row in found.rows}) == 1
    assert found.to_json()["networks"][1]["verdict"] == found.verdicts[1]
    assert len(found.tables()) == 4
    check_progress(told, "layers")


@pytest.mark.export
def test_layers_of_a_trained_network_end_as_it_was_exported(
    trained: tuple[qnas.Winner, Told], digits_data: DataSet
) -> None:
    winner, folder = trained[0], trained[0].folder
    study = qnas.study_layers([folder, str(folder), winner], images=0, device="cpu")  # type: ignore[list-item]
    one, again, _ = study.networks
    assert (one.network, again.network) == (f"{folder.name} (1)", f"{folder.name} (2)")
    assert one.origin == "trained"
    assert one.quantized.top1 == winner.accuracies["trained"]["3"]
    assert one.rows == again.rows
    wide = qnas.study_layers(winner, "w8a8", images=100, device="cpu").networks[0]
    assert wide.origin == "post-training"
    refused(lambda: qnas.study_layers(winner, data="fashion"), "was trained for images (1, 8, 8)", "leave out `data`")


@pytest.mark.export
def test_layers_of_a_run_are_its_winners(search: tuple[qnas.SearchRun, Told]) -> None:
    run, _ = search
    by_folder = qnas.study_layers(run.folder, images=50, device="cpu").networks[0]
    assert by_folder.rows == qnas.study_layers(run, images=50, device="cpu").networks[0].rows
    assert [row.layer for row in by_folder.rows if row.weights] == [
        slot.name.removesuffix("/weight") for slot in run.winner.plan.slots if slot.kind == "weight"
    ]


@pytest.mark.slow
def test_a_table_is_made_and_grows(tmp_path: Path) -> None:
    told: Told = []
    few: dict[str, Any] = {"bits": ["w4a4"], "seeds": 1, "steps": 1, "device": "cpu", "progress": noted(told)}
    path = qnas.benchmark_table("digits", networks=1, out=tmp_path / "one", **few)
    (first,) = load_table(path).entries
    check_progress(told, "train", "describe")
    larger = load_table(
        qnas.benchmark_table("digits", networks=2, start_from=tmp_path / "one", out=tmp_path / "two", **few)
    )
    assert len(larger.entries) == 2
    assert larger.entries[0] == first


def test_what_there_is_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    qnas.show("digits")
    shown = capsys.readouterr().out
    assert "checkpoint digits" in shown
    assert shown.endswith(
        "Next: `qnas.evaluate_ghn(data='digits', ghn='digits', networks=20)`; "
        "`qnas.search(data='digits', ghn='digits')`\n"
    )


def test_a_hypernetwork_for_own_images_is_shown_with_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shipped, mine = qnas.load("digits"), tmp_path / "mine"
    assert isinstance(shipped, qnas.Checkpoint)
    shutil.copytree(shipped.path, mine)
    card = {**shipped.card, "place": "/home/me/my photos"}
    (mine / "card.json").write_text(json.dumps(card), encoding="utf-8")
    qnas.show(mine)
    call = f"`qnas.search(data='/home/me/my photos', ghn={str(mine)!r})`"
    assert capsys.readouterr().out.endswith(f"{call}\n")


def refused(call: Callable[[], Any], *words: str) -> None:
    """The message of a mistake states what is wrong, with each of these words, and after a semicolon what to do."""
    with pytest.raises(qnas.QnasError) as error:
        call()
    message = str(error.value)
    assert [word for word in words if word not in message] == []
    assert "; " in message
    assert "\n" not in message


NET = next(qnas.sample("tiny", 1))
WRONG: list[tuple[str, dict[str, Any], list[str]]] = [
    ("sample", {"count": 0}, ["`count`", "got 0", "leave it out"]),
    ("sample", {"part": "some"}, ["`part`", "'some'", "give one of them"]),
    ("sample", {"bits": "w9a9"}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("sample", {"space": "nowhere"}, ["space", "'nowhere'", "tiny"]),
    ("sample", {"space": "tiny", "split": "far"}, ["split", "'far'", "deep"]),
    ("predict", {"genotype": "nowhere.json"}, ["nowhere.json", "a genotype", "`qnas.sample(count=1)`"]),
    ("predict", {"genotype": {"stem": 3}}, ["genotype", "{'stem': 3}", "`qnas.sample(count=1)`"]),
    ("predict", {"genotype": NET, "bits": "xyz"}, ["'xyz'", "give for example `bits='w4a4'`"]),
    ("predict", {"genotype": NET, "ghn": "nowhere"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("survey", {"data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("benchmark_table", {"data": "digits", "parts": "nowhere.toml"}, ["nowhere.toml", "the parts of a table", "write"]),
    ("score", {"genotype": NET, "data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("score", {"genotype": NET, "data": "digits", "part": "train"}, ["`part`", "'train'", "give one of them"]),
    ("score", {"genotype": NET, "data": "digits", "images": -1}, ["`images`", "got -1", "leave it out"]),
    ("score", {"genotype": NET, "device": "gpu"}, ["`device`", "'gpu'", "leave it out"]),
    ("train", {"network": NET, "steps": -1}, ["`steps`", "got -1", "leave it out"]),
    ("train", {"network": NET, "recipe": "nowhere.toml"}, ["nowhere.toml", "a recipe", "check the path"]),
    ("train", {"network": NET, "data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("train", {"network": NET, "ghn": "nowhere"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("train", {"network": NET, "bits": "w9a9"}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("train", {"network": NET, "device": "gpu"}, ["`device`", "'gpu'", "leave it out"]),
    ("train", {"network": "resnet9"}, ["resnet9", "`qnas.sample(count=1)`"]),
    ("train", {"network": NET, "width": 3}, ["`width`", "resnet8", "leave it out"]),
    ("train", {"network": "resnet8", "width": -1, "data": "digits"}, ["`width`", "got -1", "leave it out"]),
    ("train", {"network": NET, "minutes": -1.0}, ["`minutes`", "got -1", "leave it out"]),
    ("train", {"network": NET, "minutes": 1.0, "epochs": 2.0}, ["`epochs`", "`minutes`", "give one of them"]),
    ("train", {"network": "ds_cnn", "data": "digits", "minutes": 0.001}, ["`minutes=0.001`", "give at least"]),
    ("train", {"network": NET, "threads": 0, "data": "digits"}, ["`threads`", "got 0", "leave it out"]),
    ("search", {"bits": "w9a9"}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("search", {"max_params": 0.5}, ["`max_params=0.5`", "give for example `max_params=1e7`"]),
    ("search", {"max_macs": -5}, ["`max_macs=-5`", "leave it out"]),
    ("search", {"max_latency": float("nan")}, ["`max_latency=nan`", "leave it out"]),
    ("search", {"max_instructions": -1.0}, ["`max_instructions=-1.0`", "leave it out"]),
    ("search", {"max_instructions": 1.0, "bits": "fp32"}, ["integer code", "`bits='fp32'`", "leave them out"]),
    ("search", {"max_ram": 1.0, "bits": "fp32"}, ["integer code", "`bits='fp32'`", "leave them out"]),
    ("search", {"max_ram": 9.0, "data": "digits"}, ["`max_ram=9`", "raise the budget"]),
    ("search", {"max_params": 10, "data": "digits"}, ["`max_params=10`", "raise the budget"]),
    ("search", {"pareto": ("parms",)}, ["'parms'", "did you mean 'params'?"]),
    ("search", {"mixed": True, "bits": "w2a2"}, ["`mixed`", "got w2a2", "give w4a4 or more"]),
    ("search", {"data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("search", {"grid": "per-chanel"}, ["`grid`", "'per-chanel'", "did you mean 'per-channel'?"]),
    ("search", {"target": "cortex-m5"}, ["device profile", "'cortex-m5'", "did you mean 'cortex-m4'?"]),
    ("search", {"target": "nowhere.toml"}, ["nowhere.toml", "a device profile", "check the path"]),
    ("search", {"target": "cortex-m4", "bits": "w2a2"}, ["w8a8 or w4a8", "`bits='w2a2'`", "give one of these"]),
    ("search", {"target": "fpga-finn", "grid": "asymmetric"}, ["power-of-two", "`grid='asymmetric'`", "give one"]),
    ("search", {"target": "cortex-m4", "max_weight_bytes": 1e6}, ["229,376 bytes", "`max_weight_bytes=", "give less"]),
    ("search", {"target": "cortex-m4", "max_ram": 65536}, ["57,344 bytes", "`max_ram=65536`", "give less"]),
    ("train", {"network": NET, "target": "cortex-m4", "bits": "w4a4"}, ["w4a8", "`bits='w4a4'`", "give one of these"]),
    ("search", {"space": "nowhere"}, ["space", "'nowhere'", "tiny"]),
    ("search", {"ghn": "nowhere"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("search", {"sampler": "bayes"}, ["sampler", "'bayes'", "nsga2"]),
    ("search", {"trials": -1}, ["`trials`", "got -1", "leave it out"]),
    ("search", {"trials": 10_001}, ["10,000 `trials`", "got 10001", "take fewer"]),
    ("search", {"steps": 1}, ["longer than short ones", "got `steps=1`", "give 2 or more"]),
    ("search", {"top": -1}, ["`top`", "got -1", "leave it out"]),
    ("search", {"steps": -1}, ["`steps`", "got -1", "leave it out"]),
    ("search", {"workers": -1}, ["`workers`", "got -1", "leave it out"]),
    ("search", {"device": "gpu"}, ["`device`", "'gpu'", "leave it out"]),
    ("search", {"storage": "file"}, ["`storage`", "'file'", "leave it out"]),
    ("load", {"what": "nowhere"}, ["`qnas.load(what)`", "'nowhere'", "check the path"]),
    ("show", {"what": "nowhere"}, ["`qnas.show(what)`", "'nowhere'", "`qnas.show()`"]),
    ("show", {"what": "cortex-m5"}, ["`qnas.show(what)`", "'cortex-m5'", "did you mean 'cortex-m4'?"]),
    ("export", {"source": "nowhere"}, ["nowhere", "the result of a finished run", "finish the run"]),
    ("dashboard", {"run": "nowhere"}, ["nowhere", "the result of a finished run", "finish the run"]),
    ("dashboard", {"run": "nowhere", "port": 70_000}, ["`port=70000`", "within 1..65535", "leave it out"]),
    ("logs", {"run": "nowhere"}, ["nowhere", "a training run or a finished search", "name such a run's folder"]),
    ("logs", {"run": "nowhere", "to": "cvs"}, ["'cvs'", "kind of logs", "did you mean 'csv'?"]),
    ("report", {"run": "nowhere"}, ["nowhere", "the result of a finished run", "finish the run"]),
    ("study_init", {"data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("study_init", {"preset": "long"}, ["preset", "'long'", "quick"]),
    ("study_init", {"seeds": -1}, ["`seeds`", "got -1", "leave it out"]),
    ("study_init", {"seeds": 10**8}, ["1,000 `seeds`", "got 100000000", "take fewer"]),
    ("study_init", {"data": "digits", "width": 10**6}, ["`width`", "4096", "got 1000000", "leave it out"]),
    ("study_init", {"blocks": ["vgg"]}, ["block", "'vgg'"]),
    ("study_init", {"initializers": ["zeros"]}, ["initializer", "'zeros'"]),
    ("fit_ghn", {"data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("fit_ghn", {"steps": -1}, ["`steps`", "-1", "give `minutes`"]),
    ("fit_ghn", {"steps": 1, "float_share": 2}, ["`float_share`", "got 2", "leave it out"]),
    ("fit_ghn", {"steps": 1, "bits": "w9a9"}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("fit_ghn", {"steps": 1, "splits": "far=1"}, ["`splits`", "'far=1'", "write for example"]),
    ("fit_ghn", {"steps": 1, "weights": "row"}, ["tensor, channel", "'row'", "choose one"]),
    ("fit_ghn", {"steps": 1, "sweep": "sideways"}, ["sweep", "'sideways'"]),
    ("fit_ghn", {"steps": 1, "threads": 0}, ["`threads`", "got 0", "leave it out"]),
    ("fit_ghn", {"steps": 1, "start_from": "nowhere"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("fit_ghn", {"steps": 1, "resume": True}, ["the state of a run", "leave out `resume`"]),
    ("evaluate_ghn", {"ghn": "nowhere"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("evaluate_ghn", {"networks": 0}, ["`networks`", "got 0", "leave it out"]),
    ("evaluate_ghn", {"part": "train"}, ["`part`", "'train'", "give one of them"]),
    ("evaluate_ghn", {"images": -1}, ["`images`", "got -1", "leave it out"]),
    ("evaluate_ghn", {"splits": ["far"], "networks": 1}, ["split", "'far'", "deep"]),
    ("evaluate_ghn", {"weights": "row", "networks": 1}, ["tensor, channel", "'row'", "choose one"]),
    ("evaluate_ghn", {"bits": ["w9a9"]}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("evaluate_proxy", {"table": "nowhere"}, ["nowhere", "a benchmark table", "`qnas.benchmark_table("]),
    ("evaluate_proxy", {"start": "he"}, ["`start`", "'he'", "give one of them"]),
    ("evaluate_proxy", {"labels": 2}, ["`labels` is 2", "choose another number"]),
    ("study_layers", {"networks": []}, ["At least one network", "got none", "`networks='resnet8'`"]),
    ("study_layers", {"networks": "resnet9"}, ["resnet9", "`qnas.sample(count=1)`"]),
    ("study_layers", {"networks": "resnet8", "data": "digits"}, ["resnet8-16-", "in float", "`bits='w4a4'`"]),
    ("study_layers", {"networks": NET, "bits": "w9a9"}, ["'w9a9'", "give for example `bits='w4a4'`"]),
    ("study_layers", {"networks": NET, "width": 3}, ["`width`", "resnet8", "leave it out"]),
    ("study_layers", {"networks": NET, "data": "nowhere"}, ["'nowhere'", "`data`"]),
    ("study_layers", {"networks": NET, "ghn": "nowhere", "data": "digits"}, ["'nowhere'", "`ghn='FOLDER'`"]),
    ("study_layers", {"networks": NET, "images": -1, "data": "digits"}, ["`images`", "got -1", "leave it out"]),
    ("study_layers", {"networks": NET, "device": "gpu"}, ["`device`", "'gpu'", "leave it out"]),
    ("benchmark_table", {"networks": 0}, ["`networks`", "got 0", "leave it out"]),
    ("benchmark_table", {"seeds": 0}, ["`seeds`", "got 0", "leave it out"]),
    ("benchmark_table", {"steps": -1}, ["`steps`", "got -1", "leave it out"]),
    ("benchmark_table", {"workers": -1}, ["`workers`", "got -1", "leave it out"]),
    ("benchmark_table", {"start_from": "nowhere"}, ["nowhere", "a benchmark table", "`qnas.benchmark_table("]),
    ("benchmark_table", {"data": "nowhere"}, ["'nowhere'"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("verb", "arguments", "words"), WRONG, ids=[f"{verb} {list(arguments)[-1]}" for verb, arguments, _ in WRONG]
)
def test_a_wrong_argument_is_told_with_its_value_and_what_to_do(
    verb: str, arguments: dict[str, Any], words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    refused(lambda: getattr(qnas, verb)(**arguments), *words)
    assert list(tmp_path.iterdir()) == []


def test_every_verb_is_given_a_wrong_argument() -> None:
    verbs = {name for name in qnas.__all__ if name[0].islower()}
    assert {verb for verb, _, _ in WRONG} == verbs
