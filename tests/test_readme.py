"""README's Python runs as it stands there."""

import re
from pathlib import Path

import pytest
from lightning import Trainer

from lipsync import Diff2Lip
from lipsync.corpora.puppet.write import write_corpus

README = Path(__file__).resolve().parents[1] / "README.md"
SMALL = {"fold": 2, "channels": 8, "channel_mult": [1, 2], "num_res_blocks": 1, "attention_resolutions": [8]}
SMALL |= {"head_channels": 8, "groups": 4, "audio_channels": [8]}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the examples speak of: a talking head, a sound and a checkpoint."""
    write_corpus(tmp_path / "corpus", speakers=3, clips=1, seconds=1.2, size=112, seed=0)
    next((tmp_path / "corpus").rglob("*.mp4")).rename(tmp_path / "talk.mp4")
    next((tmp_path / "corpus").rglob("*.wav")).rename(tmp_path / "speech.wav")
    path = tmp_path / "runs" / "base" / "checkpoints" / "last.ckpt"
    path.parent.mkdir(parents=True)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", default_root_dir=tmp_path)
    trainer.strategy.connect(Diff2Lip(size=32, unet=SMALL, prediction="x_0", sampling_steps=(1,)))
    trainer.save_checkpoint(path, weights_only=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_python_examples_run(folder: Path, capsys: pytest.CaptureFixture) -> None:
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})
    assert "30 of 30 frames painted" in capsys.readouterr().out
    assert (folder / "dubbed.mp4").stat().st_size > 1000
