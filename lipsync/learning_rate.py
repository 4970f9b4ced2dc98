"""The course of the learning rate."""

from collections.abc import Callable, Sequence

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warm_up_then_decay(
    optimizer: Optimizer, warmup: int, decay: float, steps: int, starts: Sequence[int] = (0,)
) -> dict:
    """Describes to Lightning a learning rate that rises, stays, and falls linearly to zero.

    Args:
        optimizer: Whose learning rate is meant.
        warmup: Steps of the linear rise.
        decay: Share of `steps`, at the end, of the fall; 0 keeps the rate.
        steps: Length of the run; -1 (endless) keeps the rate too.
        starts: By parameter group, the step before which its rate is 0.
    """
    falling = decay * steps if steps > 0 else 0.0

    def course(start: int) -> Callable[[int], float]:
        def factor(step: int) -> float:
            rise = max(0.0, min(1.0, (step - start + 1) / (warmup + 1)))
            return min(rise, max(0.0, (steps - step) / falling)) if falling > 0 else rise

        return factor

    scheduler = LambdaLR(optimizer, [course(start) for start in starts])
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def obey(optimizer: Optimizer, scheduler: LambdaLR, rates: Sequence[float], weight_decay: float) -> None:
    """Gives a resumed run the rates of its config: a checkpoint brings those it was written with."""
    scheduler.base_lrs = list(rates)
    courses = zip(optimizer.param_groups, rates, scheduler.lr_lambdas, strict=True)
    for group, rate, factor in courses:
        group["initial_lr"], group["weight_decay"] = rate, weight_decay
        group["lr"] = rate * factor(scheduler.last_epoch)
