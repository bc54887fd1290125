"""Training runs of a search's candidates, as jobs of a pool."""

import json
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

from qnas.nas.candidate import Candidate
from qnas.nas.leaders import Leaders
from qnas.nas.rungs import Rung
from qnas.nas.settings import SearchSettings, paid_steps
from qnas.runs.progress import Progress, silent, stage
from qnas.training.jobs import Job
from qnas.work.failures import Failures
from qnas.work.pool import Pool


class JobTrainer:
    """Gives candidates training runs through a pool; ``seconds`` has how long each one's latest took, by its key.

    Args:
        settings: of the search.
        pool: does the jobs.
        folder: for the weights of full runs.
        device: name of the device that jobs train on.
        progress: told how far a rung is.
        images: the fingerprint of the run's images; empty where nobody holds them against it.
        leaders: takes note of accuracies.
        gain: how many times as fast steps of full runs are as those of short ones.

    Raises:
        QnasError: the training of one after another fails.
    """

    def __init__(
        self,
        settings: SearchSettings,
        pool: Pool[Job],
        folder: str,
        device: str = "cpu",
        progress: Progress = silent,
        images: dict[str, Any] | None = None,
        leaders: Leaders | None = None,
        gain: float = 1.0,
    ) -> None:
        self.settings, self.pool, self.folder, self.leaders, self.gain = settings, pool, folder, leaders, gain
        self.device, self.progress = device, progress
        self.images = json.dumps(images) if images else ""
        self.failures, self.seconds = Failures(), dict[str, float]()
        self.paces = list[float]()  # seconds of runs for each unit of their work, steps times price

    def __call__(self, candidates: Sequence[Candidate], rung: Rung) -> list[float | str]:
        """See ``qnas.nas.rungs.Trainer``."""
        report, outcomes, best = stage(self.progress, rung.name), dict[str, float | str](), 0.0
        jobs = [self.job(one, rung) for one in candidates]
        trained, began = dict(zip((job.name for job in jobs), candidates, strict=True)), time.monotonic()
        works = {job.name: job.recipe.steps * trained[job.name].price for job in jobs}  # 0 where none counted prices
        gain = self.gain if rung.keep else 1.0
        at_work = {job.name: began for job in jobs[: self.pool.workers]}
        waiting = iter(jobs[self.pool.workers :])

        def watch() -> None:
            """Say how far all runs are, those at work by what others took."""
            share = float(len(outcomes))
            for name, since in at_work.items() if self.paces else ():
                expected = works[name] * median(self.paces) / gain
                share += min(0.95, (time.monotonic() - since) / expected) if expected else 0.0
            tell(share)

        def tell(share: float) -> None:
            known = f", best {best:.1f} %" if best else ""
            report(share / len(jobs), f"{len(outcomes)} of {len(jobs)} networks, {rung.steps} steps{known}")

        for job, result in self.pool.run(jobs, watch):
            self.failures.note(job.genotype.key, result.get("failed", ""))
            outcomes[job.name] = result["failed"] if "failed" in result else result["top1"]
            if at_work.pop(job.name, None) and (following := next(waiting, None)):
                at_work[following.name] = time.monotonic()
            self.seconds[job.genotype.key] = result.get("seconds", 0.0)
            if works[job.name] and result.get("seconds"):
                self.paces.append(result["seconds"] / works[job.name])
            best = max(best, result.get("top1", 0.0))
            if self.leaders:
                self.leaders.note([trained[job.name].after(rung.steps, outcomes[job.name])])
            tell(len(outcomes))
        return [outcomes[job.name] for job in jobs]

    def job(self, candidate: Candidate, rung: Rung) -> Job:
        """The training run of a candidate."""
        settings = self.settings
        output = f"{self.folder}/{candidate.key}.safetensors" if rung.keep else ""
        recipe = settings.recipe.of(paid_steps(rung.steps, settings.usual_price, candidate.price))
        return Job(
            candidate.genotype, recipe, settings.seed, settings.data, settings.ghn, self.device, output,
            images=self.images, threads=settings.threads if rung.keep else 0,
        )  # fmt: skip
