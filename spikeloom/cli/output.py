"""Destination of printed text: a terminal, a pipe, a closed stream, a full disk."""

import errno
import io
import os
import sys

FEWEST_COLUMNS = 40


def is_of_output(error: OSError) -> bool:
    """Return whether an error is from printing, as to a full disk; files of a run raise SpikeloomErrors instead."""
    return error.filename is None and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def drop_output() -> None:
    """Discard the rest of the output, so that Python does not report another error at exit."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def prepare_output() -> None:
    """Make sure that all text can be printed: to a closed stream, in ASCII, and in narrow terminals."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # a closed stream
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    columns = os.environ.get("COLUMNS", "")
    if columns.isdecimal() and int(columns) < FEWEST_COLUMNS:
        os.environ["COLUMNS"] = str(FEWEST_COLUMNS)
