"""`python -m lipsync` is the command `lipsync`."""

from lipsync.cli import main

main()
