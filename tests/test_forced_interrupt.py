"""An interrupt that is raised in another thread: only between ``open`` and ``close``."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from worker.embedded.watch.forced_interrupt import ForcedInterrupt


class Interrupt(Exception):
    pass


def spin(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pass


def test_it_ends_a_loop_that_looks_at_nothing() -> None:
    forced = ForcedInterrupt(Interrupt)
    threading.Timer(0.05, forced.throw).start()
    forced.open()
    with pytest.raises(Interrupt):
        spin(30)
    forced.close()
    assert forced.was_raised


def test_nothing_is_raised_before_and_after() -> None:
    forced = ForcedInterrupt(Interrupt)
    forced.throw()
    forced.open()
    forced.close()
    forced.throw()
    spin(0.05)
    assert not forced.was_raised


def test_whatever_the_moment_it_is_raised_within_or_not_at_all() -> None:
    """A thread throws all the time, and the other one opens and closes: ``close`` takes back what comes too late."""
    forced, caught = ForcedInterrupt(Interrupt), 0

    def throw() -> None:
        for _ in range(1000):
            forced.throw()
            time.sleep(0.001)  # Further apart than ``close`` takes.

    thrower = threading.Thread(target=throw, daemon=True)
    thrower.start()
    while thrower.is_alive():
        try:
            forced.open()
            try:
                spin(0.0001)
            finally:
                forced.close()
        except Interrupt:
            caught += 1
            forced.close()
        spin(0.0001)  # Raised here, it would end the test.
    assert caught


_PROFILED = """
import sys
from worker.embedded.watch.forced_interrupt import ForcedInterrupt
forced = ForcedInterrupt(TimeoutError)
{}
sys.setprofile(lambda *_: None)
(lambda: None)()
"""


@pytest.mark.parametrize(
    "steps",
    ["forced.open(); forced.close()", "forced.open()\ntry: forced.throw()\nexcept TimeoutError: forced.close()"],
    ids=["not raised", "raised"],
)
def test_a_profiler_does_not_stand_still_afterwards(steps: str) -> None:
    subprocess.run([sys.executable, "-c", _PROFILED.format(steps)], check=True, timeout=30)
