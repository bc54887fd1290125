"""qnas: search, train and export low-bit convolutional networks, guided by a graph hypernetwork.

Everything that a user needs is here, and is described in ``qnas.api``. Names are imported when they are first used, so
that importing the package costs nothing, and training needs no library of searching.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qnas.api.data import survey
    from qnas.api.files import Export, dashboard, export, load, logs, report, show
    from qnas.api.ghn import evaluate_ghn, fit_ghn
    from qnas.api.initialization import study_init
    from qnas.api.layers import LayersStudy, study_layers
    from qnas.api.networks import predict, sample, score
    from qnas.api.search import SearchRun, search
    from qnas.api.studies import benchmark_table, evaluate_proxy
    from qnas.api.train import train
    from qnas.checkpoints.store import Checkpoint
    from qnas.errors import QnasError
    from qnas.exporters.winner import Winner
    from qnas.quant.scheme import Bits
    from qnas.scores.predicted import Score
    from qnas.space.genotype import Genotype
    from qnas.training.recipe import Recipe

__version__ = "0.1.0"
__all__ = [
    "Bits",
    "Checkpoint",
    "Export",
    "Genotype",
    "LayersStudy",
    "QnasError",
    "Recipe",
    "Score",
    "SearchRun",
    "Winner",
    "benchmark_table",
    "dashboard",
    "evaluate_ghn",
    "evaluate_proxy",
    "export",
    "fit_ghn",
    "load",
    "logs",
    "predict",
    "report",
    "sample",
    "score",
    "search",
    "show",
    "study_init",
    "study_layers",
    "survey",
    "train",
]

_HOMES = {
    "qnas.api.data": ("survey",),
    "qnas.api.files": ("Export", "dashboard", "export", "load", "logs", "report", "show"),
    "qnas.api.ghn": ("evaluate_ghn", "fit_ghn"),
    "qnas.api.initialization": ("study_init",),
    "qnas.api.layers": ("LayersStudy", "study_layers"),
    "qnas.api.networks": ("predict", "sample", "score"),
    "qnas.api.search": ("SearchRun", "search"),
    "qnas.api.studies": ("benchmark_table", "evaluate_proxy"),
    "qnas.api.train": ("train",),
    "qnas.checkpoints.store": ("Checkpoint",),
    "qnas.errors": ("QnasError",),
    "qnas.exporters.winner": ("Winner",),
    "qnas.quant.scheme": ("Bits",),
    "qnas.scores.predicted": ("Score",),
    "qnas.space.genotype": ("Genotype",),
    "qnas.training.recipe": ("Recipe",),
}


def __getattr__(name: str) -> object:
    from importlib import import_module

    for home, names in _HOMES.items():
        if name in names:
            return globals().setdefault(name, getattr(import_module(home), name))
    raise AttributeError(f"module 'qnas' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*__all__, *(name for name in globals() if name.startswith("__"))])
