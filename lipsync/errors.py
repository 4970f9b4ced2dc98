"""The one exception that means "you can mend this", and what was probably meant."""

import difflib
import inspect
from collections.abc import Callable, Iterable


class LipsyncError(Exception):
    """A user's mistake in one line: what is wrong, where, and what to do; the commands print it and exit with 2."""


def meant(name: str, known: Iterable[str]) -> str:
    """Asks whether the nearest of some known names was meant, in words that end a sentence; nothing if none is near."""
    near = difflib.get_close_matches(name, list(known), 1)
    return f"; did you mean {near[0]}?" if near else ""


def check_choice(argument: str, given: str, known: Iterable[str]) -> None:
    """Raises LipsyncError if an argument is none of the names known for it."""
    known = list(known)
    if given not in known:
        raise LipsyncError(f"{argument}: {given!r} is none of {', '.join(known)}{meant(given, known)}")


def check_keys(argument: str, kind: Callable, given: Iterable[str]) -> None:
    """Raises LipsyncError if a dict, given as an argument, has a key that is no parameter of what takes it."""
    known = inspect.signature(kind).parameters
    for name in given:
        if name not in known:
            raise LipsyncError(f"{argument}: {kind.__name__} takes no {name}{meant(name, known)}")
