"""Those who look and listen: networks that no model was trained with, and the metrics that use them."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lipsync import checkpoints
from lipsync.errors import LipsyncError
from lipsync.expert import SyncExpert
from lipsync.metrics.landmark_distance import LandmarkDistance
from lipsync.metrics.leak import LipLeak
from lipsync.metrics.opening import OpeningAgreement
from lipsync.metrics.perceptual import PerceptualDistance
from lipsync.metrics.quality import PictureQuality
from lipsync.metrics.sync import SyncAgreement, embed, score
from lipsync.metrics.views import View, Viewer


class Sound(NamedTuple):
    """What is heard with N frames.

    Attributes:
        sliding: (N - T + 1, 80, M), the expert's mels of every window.
        samples: (640 N,) int16.
    """

    sliding: Tensor
    samples: Tensor


class Judges(nn.Module):
    """Scores clips of face crops, one at a time.

    Args:
        expert: Who hears whether lips and sound agree: name of a shipped SyncExpert, path of a trained one, or path of
            SyncNet-v2's published weights; None: nobody, and the table has no such columns.
        forbidden: The expert of the model's own loss, which it was trained to please.
        lpips_net, lpips_weights: As `perceptual.LPIPS`; without weights a distance of another name stands in.
        fid_weights: As `views.Viewer`; without, `fd_mesh` stands in for the FID.

    Raises:
        LipsyncError: A file that is no such network, or the forbidden one; no torch-fidelity where it is needed.
    """

    def __init__(
        self,
        expert: str | None,
        forbidden: str | None = None,
        lpips_net: str = "alex",
        lpips_weights: str | None = None,
        fid_weights: str | None = None,
    ) -> None:
        super().__init__()
        if expert is not None and forbidden is not None and Path(expert).resolve() == Path(forbidden).resolve():
            raise LipsyncError(
                f"evaluation.expert: {expert} is the expert of the model's own loss, which cannot judge it: name "
                "another one, trained with another seed"
            )
        self.viewer = Viewer(fid_weights)
        self.syncnet = None if expert is None else checkpoints.load_judge(expert)
        self.quality, self.landmarks, self.leak = PictureQuality(), LandmarkDistance(), LipLeak()
        self.opening, self.sync = OpeningAgreement(), SyncAgreement()
        self.perceptual = PerceptualDistance(lpips_net, lpips_weights)

    def compare(self, view: View, truth: View) -> dict[str, Tensor]:
        """Scores a clip that should equal the truth."""
        return self.quality.score(view, truth) | self.perceptual.score(view, truth) | self.landmarks.score(view, truth)

    @torch.no_grad()
    def embed(self, pictures: Tensor, sound: Sound) -> tuple[Tensor, Tensor]:
        """Returns the embeddings (W, E) of a clip's windows, faces and sounds, in float32."""
        pictures = pictures.float()
        with torch.autocast(pictures.device.type, enabled=False):
            if isinstance(self.syncnet, SyncExpert):
                windows = pictures.unfold(0, self.syncnet.syncnet.frames, 1).movedim(-1, 1)
                audio, face = self.syncnet.embed(sound.sliding[:, None].float(), windows)
                return face, audio
            return embed(self.syncnet, pictures, sound.samples)

    def hear(self, face: Tensor, audio: Tensor, late: int = 0) -> dict[str, Tensor]:
        """Scores embeddings (W, E), the sound heard `late` frames too late; SyncNet-v2's as its authors do."""
        face, audio = face[late:], audio[: len(audio) - late]
        if isinstance(self.syncnet, SyncExpert):
            return self.sync.score(face, audio)
        said = score(face, audio)
        mean = said.distances.mean(dim=0)
        unshifted = mean[len(mean) // 2]
        values = (said.lse_d, said.lse_c, abs(said.offset), unshifted, mean.median() - unshifted)
        return dict(zip(self.sync.names, map(torch.as_tensor, values), strict=True))
