"""SIGTERM, by which a cluster says that the time is up: training writes a checkpoint first.

    with termination.ends():            SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt
        prepare()
        with termination.waits() as asked:
            while not asked():          SIGTERM is noted: the loop ends where it is safe
                update()
        evaluate()

A second SIGTERM ends the process at once. Signals are heard in the main thread only; elsewhere all this does nothing.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STATUS = 128 + signal.SIGTERM
"""Exit status of a process that SIGTERM ended: 143."""


class Terminated(SystemExit):
    """The process was told to end; an uncaught one ends Python with status 143.

    Args:
        message: what is kept, and how to go on.
        update: after which a checkpoint was written because of it.
    """

    def __init__(self, message: str = "", update: int | None = None) -> None:
        super().__init__(STATUS)
        self.message, self.update = message, update

    def __str__(self) -> str:
        return self.message


class _Listener:
    """What became of SIGTERM."""

    asked = False
    waiting = 0

    def hear(self, *_: Any) -> None:
        """Note it or end; the next one is not heard any more."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.asked = True
        if not self.waiting:
            raise Terminated


_listener = _Listener()


@contextmanager
def ends() -> Iterator[None]:
    """Within, SIGTERM raises Terminated."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before == _listener.hear or before is None or _listener.asked:  # outer one, or a handler that is not Python's
        yield
        return
    signal.signal(signal.SIGTERM, _listener.hear)
    try:
        yield
    finally:
        _listener.asked = False
        signal.signal(signal.SIGTERM, before)


@contextmanager
def waits() -> Iterator[Callable[[], bool]]:
    """Within, SIGTERM is only noted; gives a function that says whether it came. At the end it raises Terminated."""
    with ends():
        _listener.waiting += 1
        try:
            yield lambda: _listener.asked
        finally:
            _listener.waiting -= 1
        if _listener.asked and not _listener.waiting:
            raise Terminated


__all__ = ["STATUS", "Terminated", "ends", "waits"]
