"""The parsers of the two commands: they merge what several files say, and say in one line what is wrong."""

import re
import sys
from typing import Any, ClassVar, NoReturn

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch.cli import LightningArgumentParser

from lipsync.errors import meant

# How jsonargparse words that there is no such thing: an option, a class by its bare name, one by its path.
NO_OPTION = re.compile(r"unrecognized arguments: --([\w.]+)|option '([\w.]+)'", re.IGNORECASE)
NO_CLASS = re.compile(r"Expected a dot import path string: (\w+)|module '([\w.]+)' has no attribute '(\w+)'")


class OneLineErrors(ArgumentParser):
    """A parser that says what is wrong in one line, with the nearest that there is, and exits with 2.

    Attributes:
        classes: Names of classes that may be written without their module.
    """

    classes: ClassVar[tuple[str, ...]] = ()

    # jsonargparse explains every branch of a type it tried; these lines say nothing of the mistake.
    NOISE = ("Does not validate", "Subtypes:", "Errors:", "Expected a <class 'NoneType'>", "Given value")
    NOISE += ("Not a valid subclass", "Subclass types expect", "a class path", "a dict with")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        # Half a name is a mistake, too: --trainer.max_step means something else when Lightning has a new option.
        super().__init__(*arguments, **{"allow_abbrev": False} | options)

    def validate(self, *arguments: Any, **options: Any) -> None:
        try:
            super().validate(*arguments, **options)
        except KeyError as error:  # raised where the names are known, perhaps of one class of many
            message = str(error)
            if "did you mean" not in message and (found := NO_OPTION.search(message)):
                parser = getattr(error, "subcommand_parser", self)
                error.args = (message + nearest(found[1] or found[2], parser.names()),)
            raise

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        if not self.exit_on_error:
            super().error(message, ex)
        message = str(message)
        lines = (line.strip(" -") for line in message.splitlines())
        told = " ".join(line for line in lines if line and not line.startswith(self.NOISE))
        if "did you mean" not in told and (found := NO_OPTION.search(message)):
            told += nearest(found[1] or found[2], self.names())
        elif found := NO_CLASS.search(message):
            told += meant(found[1] or found[3], self.classes if found[1] else dir(sys.modules[found[2]]))
        print(f"{self.prog.replace(' [options]', '')}: {told}", file=sys.stderr)
        raise SystemExit(2)

    def names(self) -> list[str]:
        """The names of all options."""
        return [action.dest for action in self._actions]


class Parser(OneLineErrors):
    """The parser of `lipsync`."""


class LightningParser(OneLineErrors, LightningArgumentParser):
    """The parser of `lightning`: what a second --config says of a dict is added to what the first one said.

    jsonargparse merges all but dicts among a class's arguments, which it replaces: a file that turns one loss off would
    put the others back to their defaults.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.told = Namespace()

    def parse_path(self, cfg_path: Any, *arguments: Any, **options: Any) -> Namespace:
        found = super().parse_path(cfg_path, *arguments, **options)
        for key, value in list(found.items()):
            if key.endswith(".class_path") and self.told.get(key) != value:
                self.told.pop(key.replace("class_path", "init_args"), None)  # another class starts anew
            self.told[key] = found[key] = merged(self.told.get(key), value)
        return found


def merged(before: object, later: object) -> object:
    """Adds a dict to an earlier one, dicts in them likewise; anything else replaces what was there."""
    if not isinstance(before, dict) or not isinstance(later, dict):
        return later
    return before | {key: merged(before.get(key), value) for key, value in later.items()}


def nearest(key: str, names: list[str]) -> str:
    """Asks whether the nearest of some dotted names was meant, of all of the key or, if none is near, of its head."""
    return meant(key, names) or meant(key.split(".")[0], {name.split(".")[0] for name in names})
