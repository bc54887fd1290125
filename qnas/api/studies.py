"""Tables that answer questions about the method."""

from collections.abc import Sequence
from pathlib import Path

from qnas.api.arguments import PATH_LIKE, as_bits, as_recipe, as_whole, chosen_data
from qnas.checkpoints.store import checkpoint_names, default_checkpoint, find_checkpoint
from qnas.data.registry import Size, default_space, find_data
from qnas.devices import pick_device, worker_count
from qnas.errors import check_seed
from qnas.nas.limits import Limits
from qnas.quant.scheme import Bits
from qnas.runs.progress import Progress, silent
from qnas.studies.benchmark_table import TABLE, BenchmarkTable, load_table
from qnas.studies.proxy import ProxyTable, learned_of_others
from qnas.studies.proxy import evaluate_proxy as judge
from qnas.studies.settings import Part, TableSettings, read_parts
from qnas.studies.table_runs import make_table
from qnas.training.recipe import Recipe


def evaluate_proxy(
    table: str | Path | BenchmarkTable = "digits",
    *,
    start: str = "random",
    labels: int = 50,
    seed: int = 0,
    epochs: float = 0,
) -> ProxyTable:
    """How far the score of untrained networks can be trusted, beside baselines, against a table of trained ones.

    Args:
        table: of ``benchmark_table``, its file or its folder, or the name of a checkpoint that ships with one.
        start: what the truth is: networks trained from ``random`` or from ``predicted`` parameters.
        labels: short training runs that the score is fitted to.
        seed: of the choices of labelled networks.
        epochs: passes over the training images of the runs that are the truth; 0 for the table's full runs.

    Returns:
        A row for each of the table's bit widths.

    Raises:
        QnasError: the table cannot be read, or has too few networks.
    """
    check_seed(seed)
    trained = table if isinstance(table, BenchmarkTable) else load_table(_table_file(table))
    task = find_data(trained.settings["data"]).task
    return judge(trained, task, start, labels, seed, epochs, learned_of_others(trained, task))


def benchmark_table(
    data: str | Path = "digits",
    image: Size = "",
    *,
    space: str | Path = "",
    ghn: str | Path = "",
    networks: int = TableSettings.networks,
    bits: Sequence[str | Bits] = (),
    seeds: int = TableSettings.seeds,
    recipe: Recipe | str | Path | None = None,
    steps: int = 0,
    seed: int = 0,
    max_weight_bytes: float = 0,
    max_macs: float = 0,
    parts: Sequence[Part] | str | Path = (),
    workers: int = 1,
    device: str = "auto",
    start_from: str | Path | None = None,
    out: str | Path = "runs/table",
    progress: Progress = silent,
) -> Path:
    """Train many networks at several bit widths, to know how good a score or a search is. Continues what it finds.

    Args:
        data: see ``search``.
        image: see ``search``.
        space: see ``search``.
        ghn: see ``search``.
        networks: how many genotypes.
        bits: widths that each is trained at; the usual four if empty.
        seeds: full training runs from each start.
        recipe: how they are trained, or a file of that.
        steps: of a full run, instead of the recipe's; 0 for those.
        seed: of the genotypes.
        max_weight_bytes: of every genotype, at the first bit widths; 0 for any number.
        max_macs: of every genotype; 0 for any number.
        parts: what is trained, or a TOML file of that, instead of ``networks`` at all ``bits`` from both starts.
        workers: processes that train; 0 for one a core.
        device: ``cpu``, ``cuda``, or ``auto``.
        start_from: older table, or its folder, whose runs are kept.
        out: folder of the table.
        progress: see ``qnas.api``.

    Returns:
        The table's file, which ``evaluate_proxy`` reads.

    Raises:
        QnasError: an argument is wrong, or ``out`` is of another table.
    """
    target, known = pick_device(device), chosen_data(data, image)
    usual = TableSettings("", "", "")
    settings = TableSettings(
        data=known,
        space=str(space) or default_space(known),
        ghn=str(ghn) or default_checkpoint(known),
        networks=networks,
        bits=tuple(as_bits(one) for one in bits) or usual.bits,
        seeds=seeds,
        recipe=as_recipe(recipe or usual.recipe, steps),
        seed=seed,
        limits=Limits(weight_bytes=as_whole("max_weight_bytes", max_weight_bytes), macs=as_whole("max_macs", max_macs)),
        parts=read_parts(Path(parts)) if isinstance(parts, PATH_LIKE) else tuple(parts),
    )
    older = Path(start_from) if start_from else None
    processes = worker_count(workers, target)
    return make_table(settings, Path(out), device=target.type, workers=processes, start_from=older, progress=progress)


def _table_file(table: str | Path) -> Path:
    """The file of a benchmark table, from it, its folder, or the name of a checkpoint that ships with one."""
    path = find_checkpoint(str(table)) if str(table) in checkpoint_names() else Path(table)
    return path / TABLE if path.is_dir() else path
