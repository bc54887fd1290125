"""A finished search in Optuna's dashboard: every network that was scored is a trial of a study in memory."""

from importlib import import_module
from pathlib import Path
from typing import Any, Literal
from warnings import catch_warnings

import optuna
from optuna.distributions import CategoricalDistribution
from optuna.exceptions import ExperimentalWarning
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial

from qnas.errors import QnasError
from qnas.nas.result import known, networks_of, read_result
from qnas.runs.folder import read_run
from qnas.space.genotype import Genotype

PACKAGE, EXTRA = "optuna_dashboard", "dashboard"
PORTS = range(1, 2**16)


def serve(run: Path, host: str, port: int) -> None:
    """Serve the dashboard until the program is stopped; nothing is written.

    Args:
        run: folder of a finished search.
        host: address that is listened at.
        port: likewise.

    Raises:
        QnasError: there is no result, the package is missing, or the address cannot be had.
    """
    if port not in PORTS:
        raise QnasError(f"A port lies within 1..{PORTS[-1]}, got `port={port}`; leave it out for 8080.")
    storage = study_of(run)
    try:
        server = import_module(PACKAGE)
    except ImportError as error:
        raise QnasError(
            f"The dashboard is Optuna's, and {PACKAGE} cannot be imported ({error}); install it with: python -m pip "
            f"install 'qnas[{EXTRA}]'"
        ) from error
    try:
        server.run_server(storage, host=host, port=port)
    except OSError as error:
        raise QnasError(f"`port={port}` of {host} cannot be had ({error}); give another `port` or `host`.") from error


def study_of(run: Path) -> InMemoryStorage:
    """A storage with one study of a finished search.

    A trial's parameters are its network's genes, its values the score and the costs that were kept small beside it, and
    its attributes all that is known of it.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    result, storage = read_result(run), InMemoryStorage()
    kept = result["pareto"]
    networks = networks_of(result)
    genes = [genes_of(Genotype.from_json(one["genotype"])) for one in networks]
    choices = {name: sorted({str(own[name]) for own in genes if name in own}) for own in genes for name in own}
    directions: list[Literal["maximize", "minimize"]] = ["minimize" for _ in kept]
    study = optuna.create_study(study_name=run.resolve().name, storage=storage, directions=["maximize", *directions])
    with catch_warnings(action="ignore", category=ExperimentalWarning):
        study.set_metric_names(["score", *kept])
    study.set_user_attr("bits", str(read_run(run)["settings"]["bits"]))
    for one, own in zip(networks, genes, strict=True):
        study.add_trial(
            create_trial(
                params={name: str(value) for name, value in own.items()},
                distributions={name: CategoricalDistribution(choices[name]) for name in own},
                values=[one["score"], *(one[cost] for cost in kept)],
                user_attrs=known(one),
            )
        )
    return storage


def genes_of(genotype: Genotype) -> dict[str, Any]:
    """What a network is made of, by names for people: ``normal 0`` is the first step of its normal cells."""
    genes: dict[str, Any] = {
        "stem kernel": genotype.stem_kernel, "stem stride": genotype.stem_stride, "channels": genotype.channels,
        "cells": genotype.cells, "batch norm": genotype.batch_norm, "projected": genotype.projected,
    }  # fmt: skip
    for kind, cell in (("normal", genotype.normal), ("reduction", genotype.reduction)):
        for place, step in enumerate(cell):
            branches = (f"{branch.operation} {branch.kernel} of {branch.state}" for branch in step)
            genes[f"{kind} {place}"] = " + ".join(branches)
    return genes
