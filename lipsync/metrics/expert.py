"""How good an expert is: accuracy on pairs, area under the ROC, and whether it finds the true offset."""

import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_auroc

from lipsync.contrast import cosines, two_way_accuracy

SHIFTS = 15  # frames, either way
STRETCH = 25  # frames, a second: what an offset is judged on
STEP = 5  # frames from one stretch to the next
# Mean difference of two mouth curves, in units of `landmarks.opening`, from which on a pair can be told apart by eye.
TOLD_APART = 0.1
# Mean of a window's mel, in [-4, 4], above which something is heard.
HEARD = -3.5


class ExpertQuality(Metric):
    """Compares every window of every clip with all sounds.

    `accuracy` is two-way accuracy against windows of the same clip whose mouth curve is another; `accuracy_all` the
    mean of that against any window of the same clip and that against other speakers'; `auc` the area under the ROC of
    own against all foreign pairs; `offset_recall` the share of seconds with speech whose best shift within 15 frames is
    0, 1 or -1; `offset` the best shift over everything. Memory grows with the square of the windows: 100 clips of two
    seconds take 200 MB.

    Attributes:
        curve: Once computed, the mean score at every shift of the sound against the face, -15 to 15 frames; positive:
            heard later.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self) -> None:
        super().__init__()
        self.curve: list[float] = []
        for name in ("audio", "face", "opening", "loudness", "clip", "speaker", "place"):
            self.add_state(name, default=[], dist_reduce_fx="cat")

    def update(self, audio: Tensor, face: Tensor, opening: Tensor, mels: Tensor, clip: int, speaker: int) -> None:
        """Adds a clip's consecutive windows.

        Args:
            audio, face: (W, E) embeddings.
            opening: (W + T - 1,) of the true mouth, NaN where unknown.
            mels: (W, 80, M), what `audio` was made of.
            clip, speaker: Their numbers.
        """
        windows = len(audio)
        self.audio.append(audio.float())
        self.face.append(face.float())
        self.opening.append(opening.unfold(0, len(opening) - windows + 1, 1))
        self.loudness.append(mels.mean(dim=(1, 2)))
        self.clip.append(torch.full((windows,), clip, device=audio.device))
        self.speaker.append(torch.full((windows,), speaker, device=audio.device))
        self.place.append(torch.arange(windows, device=audio.device))

    def compute(self) -> dict[str, Tensor]:
        audio, face, opening = (torch.cat(list(values)) for values in (self.audio, self.face, self.opening))
        clip, speaker, place = (torch.cat(list(values)) for values in (self.clip, self.speaker, self.place))
        frames = opening.shape[1]
        cosine = cosines(audio, face)
        apart = (clip[:, None] == clip) & ((place[:, None] - place).abs() >= frames)
        strangers = speaker[:, None] != speaker
        told = torch.zeros_like(apart)
        for number in clip.unique():
            rows = (clip == number).nonzero().flatten()
            differs = (opening[rows, None] - opening[rows]).abs().mean(dim=2) >= TOLD_APART
            told[rows[:, None], rows] = differs & apart[rows[:, None], rows]
        sorts = [two_way_accuracy(cosine, chosen) for chosen in (apart, strangers) if chosen.any()]
        asked = apart | strangers
        scores = torch.cat([cosine.diagonal(), cosine[asked]])
        is_own = torch.zeros(len(scores), dtype=torch.long, device=scores.device)
        is_own[: len(cosine)] = 1
        curve, recall = self._offsets(audio, face, clip, STRETCH - frames + 1)
        self.curve = curve.tolist()
        return {
            "accuracy": two_way_accuracy(cosine, told),
            "accuracy_all": torch.stack(sorts).mean() if sorts else torch.tensor(torch.nan),
            "auc": binary_auroc(scores, is_own),
            "offset_recall": recall,
            "offset": (curve.argmax() - SHIFTS).float(),
        }

    def _offsets(self, audio: Tensor, face: Tensor, clip: Tensor, windows: int) -> tuple[Tensor, Tensor]:
        """The curve over all windows, and the recall of the true offset over stretches of so many."""
        loudness = torch.cat(list(self.loudness))
        total, count, found = torch.zeros(2 * SHIFTS + 1), torch.zeros(2 * SHIFTS + 1), []
        for number in clip.unique():
            rows = (clip == number).nonzero().flatten()
            scores, present = shifted_scores(audio[rows], face[rows], SHIFTS)
            total += scores.sum(0).cpu()
            count += present.sum(0).cpu()
            for first in range(0, len(rows) - windows + 1, STEP):
                stretch = slice(first, first + windows)
                if (loudness[rows[stretch]] > HEARD).float().mean() < 0.5:
                    continue
                shift, _ = best_shift(scores[stretch], present[stretch])
                found.append(float(abs(shift) <= 1))
        recall = torch.tensor(found).mean()  # NaN of nothing
        return total / count.clamp(min=1), recall


def best_shift(scores: Tensor, present: Tensor) -> tuple[int, float]:
    """Finds the shift of the sound with the best mean score, and by how much it stands out over the median of all.

    Args:
        scores, present: (W, 2 * shifts + 1), of `shifted_scores` or some rows of it.
    """
    heard = present.sum(0)
    known = 2 * heard >= len(scores)  # shifts that leave at least half of the windows
    mean = torch.where(known, scores.sum(0) / heard.clamp(min=1), -torch.inf)
    best = int(mean.argmax())
    return best - len(mean) // 2, float(mean[best] - mean[known].median())


def shifted_scores(audio: Tensor, face: Tensor, shifts: int) -> tuple[Tensor, Tensor]:
    """Computes the cosines of a clip's faces with its sounds at every shift.

    Args:
        audio, face: (W, E) embeddings of unit length, in the order of time.
        shifts: Largest shift, either way.

    Returns:
        Scores (W, 2 * shifts + 1), row: face, column: shift of the sound from -shifts on, 0 beyond the clip's ends; and
        which of them lie within (same shape, bool).
    """
    windows = len(audio)
    sounds = torch.arange(windows)[:, None] + torch.arange(-shifts, shifts + 1)
    present = ((sounds >= 0) & (sounds < windows)).to(audio.device)
    padded = F.pad(audio, (0, 0, shifts, shifts))
    scores = [(padded[shift : shift + windows] * face).sum(1) for shift in range(2 * shifts + 1)]
    return torch.stack(scores, dim=1), present
