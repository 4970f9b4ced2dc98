"""The FID's own network, Inception-v3 as the package torch-fidelity has it, with no weights but those asked for."""

import io
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.hub import load_state_dict_from_url

from lipsync.errors import LipsyncError
from lipsync.perceptual import DOWNLOAD
from lipsync.video import to_bytes


class Inception(nn.Module):
    """Returns the features that the FID (arXiv 1706.08500) compares, those of the last pooling.

    Args:
        weights: File of the FID's weights, `pt_inception-2015-12-05-6726825d.pth`, or `download`.

    Attributes:
        dimensions: How many features a picture has.

    Raises:
        LipsyncError: No such file, one that holds something else, no download, or torch-fidelity is not installed.
    """

    dimensions = 2048

    def __init__(self, weights: str) -> None:
        super().__init__()
        if weights != DOWNLOAD and not Path(weights).is_file():
            raise LipsyncError(
                f"{weights}: no weights for the FID: set fid_weights to a file of pt_inception-2015-12-05-6726825d.pth "
                f"or to {DOWNLOAD}, or leave it out: fd_mesh needs none"
            )
        try:
            from torch_fidelity.feature_extractor_inceptionv3 import URL_INCEPTION_V3, FeatureExtractorInceptionV3
        except ImportError as error:
            raise LipsyncError(
                f"fid_weights: the FID's network is in torch-fidelity, which is not there ({error}): "
                "pip install -e '.[fid]'"
            ) from error
        ours = io.BytesIO()
        torch.save(read(weights, URL_INCEPTION_V3), ours)
        ours.seek(0)
        try:
            # It unpickles whatever it is given: give it what we have written.
            self.network = FeatureExtractorInceptionV3("fid", ["2048"], ours)
        except Exception as error:  # load_state_dict has several
            raise LipsyncError(f"{weights}: not the FID's weights of Inception-v3 ({type(error).__name__})") from error

    def forward(self, pictures: Tensor) -> Tensor:
        """Looks at pictures (N, 3, H, W) in [-1, 1], rounded to 8 bits and enlarged as the FID does it: (N, 2048)."""
        return self.network(to_bytes(pictures))[0]


def read(weights: str, url: str) -> dict[str, Tensor]:
    """Reads weights from a file, or downloads them once, and takes no code from either.

    Raises:
        LipsyncError: They cannot be had.
    """
    safely = {"map_location": "cpu", "weights_only": True}
    try:
        if weights == DOWNLOAD:
            return load_state_dict_from_url(url, progress=False, check_hash=True, **safely)
        return torch.load(weights, **safely)
    except OSError as error:
        raise LipsyncError(f"{url if weights == DOWNLOAD else weights}: cannot be had ({error})") from error
    except Exception as error:  # torch, pickle and zipfile each have their own
        raise LipsyncError(f"{weights}: not the FID's weights of Inception-v3 ({type(error).__name__})") from error
