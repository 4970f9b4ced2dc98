"""metrics.json of a run folder."""

import json
from pathlib import Path

from lightning import Callback, LightningModule, Trainer

from lipsync.files import tolerated, whole


class MetricsFile(Callback):
    """Keeps the latest value of every metric in `metrics.json` of the run folder."""

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}

    def _write(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if trainer.sanity_checking or not trainer.is_global_zero:
            return
        path = Path(trainer.default_root_dir) / "metrics.json"
        if not self.latest and path.is_file():  # of the run that is being resumed
            self.latest = json.loads(path.read_text())
        self.latest |= {name: value.item() for name, value in trainer.callback_metrics.items()}
        self.latest["step"] = max(trainer.global_step, self.latest.get("step", 0))
        with tolerated(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with whole(path) as beside:
                beside.write_text(json.dumps(self.latest, indent=2, sort_keys=True) + "\n")

    on_validation_end = _write
    on_test_end = _write
