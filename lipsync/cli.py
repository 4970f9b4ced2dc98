"""The two commands: `lightning` (fit, validate, test, predict) and `lipsync` (prepare, sync, dub, compare, ...)."""

import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator
from inspect import Parameter, signature
from pathlib import Path

import torch
from jsonargparse import Namespace, set_parsing_settings
from lightning import LightningDataModule, LightningModule, Trainer
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI, SaveConfigCallback
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from lipsync.checkpoints import resumable, take_weights
from lipsync.corpora.folder import Folder
from lipsync.corpora.lrs2 import LRS2
from lipsync.corpora.lrw import LRW
from lipsync.corpora.synthetic import Synthetic
from lipsync.corpora.voxceleb2 import VoxCeleb2
from lipsync.diff2lip import Diff2Lip
from lipsync.dubbing.dub import dub
from lipsync.dubbing.dub_many import dub_many
from lipsync.dubbing.faces import faces
from lipsync.errors import LipsyncError
from lipsync.evaluation.compare import compare
from lipsync.evaluation.videos import evaluate
from lipsync.expert import SyncExpert
from lipsync.exports import convert, export
from lipsync.parsers import LightningParser, Parser
from lipsync.pictures.plot import plot
from lipsync.preparation.costs import costs
from lipsync.preparation.prepare import prepare
from lipsync.preparation.sync import sync
from lipsync.provenance import record
from lipsync.run_folder import RUN, newest, relocate, run_folder
from lipsync.runs import runs
from lipsync.tracking import finish, log_config

# Keeps `${...}` alive under a second --config and under overrides.
set_parsing_settings(omegaconf_absolute_to_relative_paths=True)
# Known by their bare names in `class_path`, being imported here.
MODULES = (Diff2Lip, SyncExpert, Folder, LRS2, LRW, Synthetic, VoxCeleb2)
LightningParser.classes = tuple(module.__name__ for module in MODULES)
MISTAKES = LipsyncError, MisconfigurationException, OmegaConfBaseException  # a user's


def precision(accelerator: str) -> str:
    """Names the Trainer's precision that suits this machine: bf16 where the GPU computes in it, float32 elsewhere."""
    on_gpu = accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return "bf16-mixed" if on_gpu and torch.cuda.is_bf16_supported(including_emulation=False) else "32-true"


OmegaConf.register_resolver("precision", precision, replace=True)


class LipsyncCLI(LightningCLI):
    """LightningCLI with one run folder: unique unless resumed, and named by the last line printed."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        parser.add_argument("--name", default="run", help="Name of the run: its folder is runs/NAME")
        parser.add_argument("--test_after_fit", type=bool, default=False, help="Test on the test split after fit")

    def _parse_ckpt_path(self) -> None:
        """Leaves the command line alone: Lightning lets a checkpoint's arguments override it silently."""

    def before_instantiate_classes(self) -> None:
        config = self.config[self.subcommand]
        config.weights_only = True
        # Resuming is exact by counting (EndlessSampler), which Lightning cannot see.
        warnings.filterwarnings("ignore", ".*dataloader is not resumable.*")
        # The frozen expert is in eval mode, as it must be.
        warnings.filterwarnings("ignore", r"Found \d+ module\(s\) in eval mode.*")
        wanted, checkpoint = config.trainer.default_root_dir, config.get("ckpt_path")
        if checkpoint is None and self.subcommand != "fit":
            raise LipsyncError(f"{self.subcommand} needs --ckpt_path: a file, or `last` for the newest run of {wanted}")
        if checkpoint == "last":
            checkpoint = str(newest(Path(wanted)))
        self.weights: str | None = None
        # Reading it says in one line what is wrong with it, before anything is written.
        if checkpoint is not None and not resumable(checkpoint):
            if self.subcommand == "fit":
                raise LipsyncError(f"{checkpoint}: weights alone, no run to resume: start with --model.init_from=FILE")
            self.weights, checkpoint = checkpoint, None
        # Loggers and callbacks were given places inside the folder as it was first named.
        evaluating = self.subcommand == "test" and config.model.init_args.get("evaluation") is not None
        if evaluating:
            config.verbose = False  # it prints its own tables
        folder = run_folder(Path(wanted), checkpoint, self.subcommand, evaluating)
        relocate(config, wanted, str(folder))
        config.ckpt_path = checkpoint
        if self.subcommand == "fit" and checkpoint is not None:
            continue_wandb(config.trainer.get("logger"), folder)

    def instantiate_classes(self) -> None:
        super().instantiate_classes()
        if self.weights is not None:
            take_weights(self.model, self.weights)

    def after_fit(self) -> None:
        if self.config[self.subcommand].test_after_fit:
            self.trainer.test(self.model, datamodule=self.datamodule)


class ConfigFile(SaveConfigCallback):
    """Saves the config in the run folder, and where the run comes from; a resumed run says what has changed in it."""

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        path = Path(trainer.log_dir, self.config_filename)
        before = flat(path) if trainer.is_global_zero and path.is_file() and not self.already_saved else None
        super().setup(trainer, pl_module, stage)
        if before is not None:
            after = flat(path)
            for key in sorted((before.keys() | after.keys()) - {"ckpt_path"}):
                if before.get(key) != after.get(key):
                    print(f"Resumed with another {key}: {after.get(key)}, it was {before.get(key)}")

    def save_config(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        folder = Path(trainer.default_root_dir)  # not `log_dir`, which asks all processes: only the first is here
        record(folder, getattr(trainer.datamodule, "root", None), self.config.seed_everything)
        log_config(trainer.loggers, folder / self.config_filename)


def flat(path: Path) -> dict[str, object]:
    """Reads a saved config as one level of dotted names; what stands in a list keeps its place's number."""

    def walk(node: object, name: str) -> Iterator[tuple[str, object]]:
        items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
        for key, value in items:
            yield from walk(value, f"{name}.{key}")
        if not isinstance(node, dict | list):
            yield name.removeprefix(".").replace(".init_args", ""), node

    return dict(walk(OmegaConf.to_container(OmegaConf.load(path), resolve=False), ""))


def continue_wandb(loggers: list[Namespace] | Namespace | bool | None, folder: Path) -> None:
    """Gives the wandb logger of a resumed run the id of the run's last one; under a sweep wandb has its own."""
    runs = sorted((folder / "wandb").glob("*run-*-*"), key=lambda path: path.stat().st_mtime)
    if not runs or "WANDB_RUN_ID" in os.environ:
        return
    for logger in loggers if isinstance(loggers, list) else [loggers]:
        if isinstance(logger, Namespace) and logger.class_path.endswith("WandbLogger"):
            logger.init_args.id = re.split(r"run-\w+-", runs[-1].name, maxsplit=1)[1]


def fit_main() -> None:
    """Runs `lightning`: fit, validate, test or predict, by LightningCLI in subclass mode."""
    report(
        lambda: LipsyncCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            parser_class=LightningParser,
            parser_kwargs={"parser_mode": "omegaconf+"},
            save_config_callback=ConfigFile,
            save_config_kwargs={"overwrite": True},
        )
    )
    finish()  # wandb has its own last words
    print(f"Run folder: {os.environ.get(RUN, 'none')}")


# What `lipsync` does, and which of a command's arguments are, if required, options by name or any number of words, and
# if not, words that may be left out.
COMMANDS = {
    "prepare": (prepare, {"out": "Folder of the corpus to write, data/NAME"}),
    "filters": (costs, {}),
    "sync": (sync, {"expert": "A trained SyncExpert, or the name of a shipped one"}),
    "faces": (faces, {}),
    "dub": (dub, {"checkpoint": "A trained Diff2Lip, .ckpt or .safetensors"}),
    "dub_many": (dub_many, {"checkpoint": "A trained Diff2Lip, .ckpt or .safetensors"}),
    "evaluate": (
        evaluate,
        {"against": "Folder of the real videos, of the same names, or one of them", "out": "Folder for the results"},
    ),
    "compare": (compare, {"runs": "Two or more folders of runs, of tests, or that `lipsync evaluate` wrote"}),
    "runs": (runs, {"folder": "Folder of runs"}),
    "plot": (plot, {"runs": "Folders of runs", "out": "Folder for the pictures"}),
    "convert": (convert, {}),
    "export": (export, {}),
}


def main() -> None:
    """Runs `lipsync` (also `python -m lipsync`): prepare, filters, sync, dub, evaluate, compare, runs, plot, ..."""
    parser = Parser(prog="lipsync", description="Lip-sync with Diff2Lip; train it with the command `lightning`.")
    commands = parser.add_subcommands()
    for name, (function, options) in COMMANDS.items():
        command = Parser(description=function.__doc__.splitlines()[0])
        command.add_function_arguments(function, skip=set(options), as_positional=True)
        for option, meaning in options.items():
            if function.__annotations__[option] == list[str]:
                command.add_argument(option, nargs="+", help=meaning)
            elif (default := signature(function).parameters[option].default) is not Parameter.empty:
                command.add_argument(option, nargs="?", default=default, help=meaning)
            else:
                command.add_argument(f"--{option}", required=True, help=meaning)
        commands.add_subcommand(name, command)
    arguments = parser.parse_args()
    function, _ = COMMANDS[arguments.subcommand]
    report(lambda: function(**vars(arguments[arguments.subcommand])))


def report(command: Callable[[], object]) -> None:
    """Runs a command; a user's mistake becomes one line on stderr and exit code 2, Ctrl-C exit code 130."""
    try:
        command()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        mistake: BaseException | None = error
        # jsonargparse wraps what a constructor raises.
        while mistake is not None and not isinstance(mistake, MISTAKES):
            mistake = mistake.__cause__
        if mistake is None:
            raise
        lines = [line.strip() for line in str(mistake).strip().splitlines()]
        # From a DataLoader's worker the message arrives with the worker's traceback before it.
        told = " ".join(lines if isinstance(mistake, OmegaConfBaseException) else lines[-1:])
        print(f"lipsync: {told.removeprefix('lipsync.errors.LipsyncError: ')}", file=sys.stderr)
        sys.exit(2)  # unlike a SystemExit that is raised, wandb notices it, and calls the run failed
