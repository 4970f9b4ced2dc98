"""The course of the learning rate."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_up_then_decay(optimizer: Optimizer, warmup: int, decay: float, steps: int) -> dict:
    """Describes to Lightning a learning rate that rises, stays, and falls linearly to zero.

    Args:
        optimizer: Whose learning rate is meant.
        warmup: Steps of the linear rise.
        decay: Share of `steps`, at the end, of the fall; 0 keeps the rate.
        steps: Length of the run; -1 (endless) keeps the rate too.
    """
    falling = decay * steps if steps > 0 else 0.0

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warmup + 1))
        return min(rise, max(0.0, (steps - step) / falling)) if falling > 0 else rise

    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}
