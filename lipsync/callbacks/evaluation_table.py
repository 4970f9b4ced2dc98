"""An evaluation's table and report, for those who look at wandb."""

import csv
from pathlib import Path

from lightning.pytorch.loggers import Logger

from lipsync.tracking import SafeWandbLogger


def log_evaluation(loggers: list[Logger], folder: Path) -> None:
    """Puts the table and the report of an evaluation on wandb."""
    with (folder / "table.csv").open(encoding="utf-8", newline="") as file:
        heads, *lines = csv.reader(file)
    for logger in loggers:
        if isinstance(logger, SafeWandbLogger):
            logger.log_table("evaluation/table", columns=heads, data=lines)
            logger.log_page("evaluation/report", folder / "report.html")
