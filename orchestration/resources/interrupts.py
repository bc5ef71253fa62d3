"""Interrupts at a moment of our choosing: one that lands inside a database call is lost, or breaks the session."""

import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

NUMBERS = (signal.SIGINT, signal.SIGTERM)


class DeferredInterrupts:
    """Within, SIGINT and SIGTERM wait until `deliver` is called; those that nobody waited for come at the end.

    Only the main thread hears signals: in any other this does nothing.
    """

    def __init__(self) -> None:
        self.heard: list[tuple[int, FrameType | None]] = []
        self.previous: dict[int, Callable[[int, FrameType | None], Any] | int | None] = {}

    def __enter__(self) -> "DeferredInterrupts":
        if threading.current_thread() is threading.main_thread():
            for number in NUMBERS:
                if callable(signal.getsignal(number)):  # one that is ignored stays so
                    self.previous[number] = signal.signal(number, lambda *heard: self.heard.append(heard))
        return self

    def deliver(self) -> None:
        """What was heard goes to who would have heard it, who may raise."""
        while self.heard:
            number, frame = self.heard.pop(0)
            handler = self.previous[number]
            assert callable(handler)
            handler(number, frame)

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for number, handler in self.previous.items():
            signal.signal(number, handler)
        if kind is None:
            self.deliver()
