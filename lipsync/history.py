"""metrics.csv of a run folder, through interruptions."""

import warnings
from itertools import count
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger


class History(CSVLogger):
    """Writes metrics.csv like its parent, and keeps an interrupted run's rows as metrics-1.csv, metrics-2.csv, ...

    Args:
        save_dir: The run's folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> object:
        if self._experiment is None:  # the parent deletes what it finds
            found = Path(self.log_dir) / "metrics.csv"
            if found.is_file():
                found.rename(next(p for n in count(1) if not (p := found.with_name(f"metrics-{n}.csv")).exists()))
        with warnings.catch_warnings():
            # It warns of deleting what has just been moved out of its way.
            warnings.filterwarnings("ignore", "Experiment logs directory")
            return super().experiment
