"""The metrics by name: what each says, whether higher or lower is better, and in which order tables show them."""

from collections.abc import Iterable
from typing import NamedTuple


class Measure(NamedTuple):
    """How a metric is shown: its group, its name, what is better (↑, ↓ or →1) and what it says."""

    group: str
    label: str
    direction: str
    meaning: str


MEASURES = {
    "lse_d_0": Measure("sync", "LSE-D as heard", "↓", "distance of face and sound, not shifted"),
    "lse_c_0": Measure("sync", "LSE-C as heard", "↑", "median distance over shifts minus the one not shifted"),
    "lse_d": Measure("sync", "LSE-D", "↓", "distance of face and sound at the best shift"),
    "lse_c": Measure("sync", "LSE-C", "↑", "median distance over shifts minus the one at the best shift"),
    "offset": Measure("sync", "offset", "↓", "best shift of the sound in frames, without its sign"),
    "opening_r": Measure("mouth", "opening r", "↑", "correlation of the mouth's opening with the wanted one"),
    "lmd": Measure("mouth", "LMD %", "↓", "distance of lip landmarks in the face's own frame, percent of its scale"),
    "lmd_pixels": Measure("mouth", "LMD px", "↓", "distance of lip landmarks in pixels of a 128 pixel crop"),
    "leak": Measure("mouth", "leak", "↓", "share of frames whose mouth is open"),
    "psnr": Measure("picture", "PSNR", "↑", "whole face, dB"),
    "psnr_mouth": Measure("picture", "PSNR mouth", "↑", "painted half, dB"),
    "ssim": Measure("picture", "SSIM", "↑", "whole face"),
    "ssim_mouth": Measure("picture", "SSIM mouth", "↑", "painted half"),
    "lpips": Measure("picture", "LPIPS", "↓", "perceptual distance from the truth"),
    "mesh_distance": Measure("picture", "mesh distance", "↓", "perceptual distance in the face mesh's features"),
    "sharpness": Measure("texture", "sharpness", "→1", "edges in the painted half, generated over true"),
    "flicker": Measure("texture", "flicker", "↓", "change from frame to frame that the truth does not have"),
    "fd_mesh": Measure("texture", "FD mesh", "↓", "Frechet distance of the face mesh's features from the truth's"),
    "fid": Measure("texture", "FID", "↓", "Frechet distance of Inception-v3's features from the truth's"),
}
# What says most about a clip: by the first of these that a row has, its clips are ranked.
TELLING = ("opening_r", "lse_d_0", "leak", "lmd", "psnr")


def measure(metric: str) -> Measure:
    """Looks a metric up; one that is not known here has neither direction nor best row."""
    return MEASURES.get(metric, Measure("other", metric, "", ""))


def goodness(metric: str, value: float) -> float:
    """Turns a metric with a direction so that higher is better."""
    return {"↑": value, "↓": -value, "→1": -abs(value - 1)}[measure(metric).direction]


def in_order(metrics: Iterable[str]) -> list[str]:
    """Sorts metrics into the order of tables."""
    order = {name: place for place, name in enumerate(MEASURES)}
    return sorted(set(metrics), key=lambda name: (order.get(name, len(order)), name))
