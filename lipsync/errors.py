"""The one exception that means "you can mend this"."""


class LipsyncError(Exception):
    """A user's mistake in one line: what is wrong, where, and what to do; the commands print it and exit with 2."""
