"""A disk that takes no more, as far as this process can tell."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager

from lightning import Callback, LightningModule, Trainer

NOWHERE = resource.RLIM_INFINITY


def leave_room(room: int) -> None:
    """Lets no file grow over so many bytes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


@contextmanager
def full_disk(room: int = 0) -> Iterator[None]:
    leave_room(room)
    try:
        yield
    finally:
        leave_room(NOWHERE)


class FullDisk(Callback):
    """Has the first process's disk full during some steps and the validations that follow them."""

    def __init__(self, *steps: int) -> None:
        self.steps = steps

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.is_global_zero:
            leave_room(0 if trainer.global_step in self.steps else NOWHERE)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        leave_room(NOWHERE)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        leave_room(NOWHERE)
