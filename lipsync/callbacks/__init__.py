"""Lightning callbacks, a file each; configs name them as `lipsync.callbacks.NAME`."""

from lipsync.callbacks.best import Best
from lipsync.callbacks.divergence import Divergence
from lipsync.callbacks.ema import EMA
from lipsync.callbacks.evaluation_table import log_evaluation
from lipsync.callbacks.metrics_file import MetricsFile
from lipsync.callbacks.progress_bar import ProgressBar
from lipsync.callbacks.samples import Samples, sheet
from lipsync.callbacks.sync_validation import SyncValidation
from lipsync.callbacks.throughput import Throughput

__all__ = [
    "EMA",
    "Best",
    "Divergence",
    "MetricsFile",
    "ProgressBar",
    "Samples",
    "SyncValidation",
    "Throughput",
    "log_evaluation",
    "sheet",
]
