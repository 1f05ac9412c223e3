"""Handling of SIGTERM, by which a cluster announces the time limit: training saves a checkpoint first.

    with termination.ends():            SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt
        prepare()
        with termination.waits() as asked:
            while not asked():          SIGTERM is recorded: the loop ends where it is safe
                update()
        evaluate()

A second SIGTERM ends the process at once. Signals arrive in the main thread only; elsewhere this module has no effect.
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

STATUS = 128 + signal.SIGTERM
"""Exit status after SIGTERM: 143."""


class Terminated(SystemExit):
    """Raised on SIGTERM; uncaught, it ends Python with status 143.

    Args:
        message: what is saved, and how to resume.
        update: update after which a checkpoint was saved because of it.
    """

    def __init__(self, message: str = "", update: int | None = None) -> None:
        super().__init__(STATUS)
        self.message, self.update = message, update

    def __str__(self) -> str:
        return self.message


class _Listener:
    """Handler and state of SIGTERM."""

    asked = False
    waiting = 0

    def hear(self, *_: Any) -> None:
        """Record the signal or raise Terminated; a second signal ends the process by the default handler."""
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self.asked = True
        if not self.waiting:
            raise Terminated


_listener = _Listener()


@contextmanager
def ends() -> Iterator[None]:
    """Raise Terminated on SIGTERM within this context."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.getsignal(signal.SIGTERM)
    if before == _listener.hear or before is None or _listener.asked:  # an outer context, or a handler not from Python
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
    """Defer SIGTERM to the end of this context, then raise Terminated; yield a function that tells if it arrived."""
    with ends():
        _listener.waiting += 1
        try:
            yield lambda: _listener.asked
        finally:
            _listener.waiting -= 1
        if _listener.asked and not _listener.waiting:
            raise Terminated


__all__ = ["STATUS", "Terminated", "ends", "waits"]
