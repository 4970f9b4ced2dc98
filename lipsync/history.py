"""metrics.csv of a run folder, through interruptions and full disks."""

import csv
import os
import warnings
from itertools import count
from pathlib import Path

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.pytorch.loggers import CSVLogger
from lightning.pytorch.loggers.csv_logs import ExperimentWriter
from lightning.pytorch.utilities import rank_zero_only

from lipsync.files import tolerated, whole


class Rows(ExperimentWriter):
    """Writes rows into metrics.csv; those that a disk does not take are kept for the next time."""

    def save(self) -> None:
        if not self.metrics:
            return
        path = Path(self.metrics_file_path)
        columns = sorted(set(self.metrics_keys).union(*self.metrics))
        if columns == self.metrics_keys and path.is_file():
            size = path.stat().st_size
            try:
                with path.open("a", newline="", encoding="utf-8") as file:
                    csv.DictWriter(file, columns).writerows(self.metrics)
            except OSError:
                os.truncate(path, size)
                raise
        else:  # a new column changes every row
            with whole(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
                table = csv.DictWriter(file, columns)
                table.writeheader()
                if path.is_file():
                    with path.open(newline="", encoding="utf-8") as before:
                        table.writerows(csv.DictReader(before))
                table.writerows(self.metrics)
            self.metrics_keys = columns
        self.metrics = []


class History(CSVLogger):
    """Writes metrics.csv like its parent, and keeps an interrupted run's rows as metrics-1.csv, metrics-2.csv, ...

    Args:
        save_dir: The run's folder.
    """

    def __init__(self, save_dir: str) -> None:
        super().__init__(save_dir, name="", version="")

    @property
    @rank_zero_experiment
    def experiment(self) -> Rows:
        if self._experiment is None:
            found = Path(self.log_dir) / "metrics.csv"
            if found.is_file():  # the parent would delete it
                found.rename(next(p for n in count(1) if not (p := found.with_name(f"metrics-{n}.csv")).exists()))
            with warnings.catch_warnings():
                # It warns of deleting what has just been moved out of its way.
                warnings.filterwarnings("ignore", "Experiment logs directory")
                self._experiment = Rows(self.log_dir)
        return self._experiment

    @rank_zero_only
    def save(self) -> None:
        with tolerated(Path(self.log_dir) / "metrics.csv"):
            self.experiment.save()
