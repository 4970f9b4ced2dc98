"""Runs at wandb: all that a run has to say gets there, and nothing that happens to wandb happens to the run."""

import logging
import os
import secrets
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import wraps
from itertools import pairwise
from pathlib import Path
from typing import Any

import wandb
from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import Logger, WandbLogger
from lightning.pytorch.utilities import rank_zero_only
from omegaconf import OmegaConf

ROWS_A_STEP = 10  # more than any step logs

log = logging.getLogger(__name__)


def forgiving(method: Callable[..., None]) -> Callable[..., None]:
    """Makes a logger's method tell of an error, the first time, instead of raising it."""

    @wraps(method)
    def attempt(self: "SafeWandbLogger", *arguments: Any, **options: Any) -> None:
        try:
            method(self, *arguments, **options)
        except Exception as error:
            self.tell("wandb took not all that it was given, and training goes on", error)

    return attempt


class SafeWandbLogger(WandbLogger):
    """Lightning's WandbLogger, which nothing that befalls wandb lets stop a run, or hold it up for long.

    A run that cannot begin online (no key, a wrong one, no server) begins offline, and what a server that went away did
    not take is kept in the folder, too: `wandb sync --no-skip-online FOLDER/wandb/*run-*` sends both. $WANDB_MODE is
    obeyed where it is set; a trial of a sweep is online otherwise.

    Args:
        save_dir: The run's folder.
        project: At wandb; a trial's is its sweep's.
        name: Shown there.
        id: Of the run that is gone on with.
        offline: Keep the run here, for `wandb sync`.
        checkpoints: Of `last` and `best`, those that are uploaded after training, as versions of one artifact that have
            these aliases; offline they are copied into wandb's own folders until then.
        patience: Seconds that wandb is waited for when a run begins and, for what it has not yet sent, when it ends.
    """

    def __init__(
        self,
        save_dir: str,
        project: str = "lipsync",
        name: str | None = None,
        id: str | None = None,
        offline: bool = True,
        checkpoints: tuple[str, ...] = (),
        patience: float = 20.0,
    ) -> None:
        settings = wandb.Settings(init_timeout=patience, finish_timeout=patience)
        self.goes_on = id is not None
        if id is None and not in_sweep():  # known before it begins: one run, in whichever mode it does
            id = secrets.token_hex(4)
        super().__init__(name=name, save_dir=save_dir, id=id, project=project, settings=settings)
        if in_sweep():
            self._wandb_init["project"] = None  # the sweep's
        del self._wandb_init["anonymous"]  # which wandb has no more, and warns of
        self.mode = os.environ.get("WANDB_MODE", "offline" if offline and not in_sweep() else "online")
        self.checkpoints = checkpoints
        self.told: set[str] = set()
        self.uploaded: dict[str, int] = {}

    @property
    @rank_zero_experiment
    def experiment(self) -> wandb.Run:
        """The run at wandb; one that takes everything and keeps nothing where wandb cannot even write here."""
        if self._experiment is None:
            modes = list(dict.fromkeys((self.mode, "offline", "disabled")))
            for mode, instead in pairwise(modes):
                self._wandb_init["mode"] = mode
                try:
                    Path(self.save_dir).mkdir(parents=True, exist_ok=True)  # or wandb finds no git repository
                    return super().experiment
                except Exception as error:
                    self.tell(f"no wandb run can begin {mode}, training goes on with one that is {instead}", error)
                    with suppress(Exception):
                        wandb.teardown()  # or the run's id would be in use
            self._wandb_init["mode"] = "disabled"
        return super().experiment

    @rank_zero_only
    @forgiving
    def log_metrics(self, metrics: Mapping[str, Any], step: int | None = None) -> None:
        if self.goes_on and step is not None:
            # Offline, wandb numbers the rows of a run that goes on from 0 again: they would meet those before.
            self.goes_on = False
            if ROWS_A_STEP * step > self.experiment.step:
                self.experiment.log({}, step=ROWS_A_STEP * step)
        super().log_metrics(metrics, step)

    log_hyperparams = forgiving(WandbLogger.log_hyperparams)
    log_table = forgiving(WandbLogger.log_table)
    log_image = forgiving(WandbLogger.log_image)
    log_video = forgiving(WandbLogger.log_video)

    @rank_zero_only
    @forgiving
    def log_page(self, key: str, path: Path) -> None:
        """Puts a file of HTML or SVG there."""
        self.log_metrics({key: wandb.Html(path.read_text(encoding="utf-8"), inject=path.suffix == ".html")})

    @rank_zero_only
    @forgiving
    def finalize(self, status: str) -> None:
        for alias in self.checkpoints if status == "success" else ():
            path = Path(self.save_dir) / "checkpoints" / f"{alias}.ckpt"
            written = path.stat().st_mtime_ns if path.is_file() else None
            if written == self.uploaded.get(alias):  # none, or not again after the test that follows a fit
                continue
            artifact = wandb.Artifact(f"model-{self.version}", type="model")
            artifact.add_file(str(path), name=path.name)
            self.experiment.log_artifact(artifact, aliases=[alias])
            self.uploaded[alias] = written

    def tell(self, what: str, error: Exception) -> None:
        """Says what went wrong, once a run."""
        if what not in self.told:
            self.told.add(what)
            reason = str(error).strip().splitlines() or [type(error).__name__]
            log.warning(f"{what}: {reason[0]}")


def in_sweep() -> bool:
    """Whether `wandb agent` runs this, as a trial of a sweep."""
    return "WANDB_SWEEP_ID" in os.environ


def log_config(loggers: list[Logger], path: Path) -> None:
    """Puts a run's whole config, interpolations resolved, at wandb."""
    for logger in loggers:
        if isinstance(logger, WandbLogger):
            logger.log_hyperparams(OmegaConf.to_container(OmegaConf.load(path), resolve=True))


def finish() -> None:
    """Ends the process's wandb run, whatever has become of wandb."""
    try:
        wandb.finish()
    except Exception as error:
        log.warning(f"wandb could not end the run, which is done: {error}")
