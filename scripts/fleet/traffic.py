"""Makes an endpoint's traffic, from figures or from files: when jobs arrive, and how long each takes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Protocol, cast

import numpy as np
from numpy.typing import NDArray

Seconds = NDArray[np.float64]
Distribution = Literal["exponential", "constant", "lognormal"]
DAY_S = 86_400.0
_UNITS = {"s": 1.0, "min": 60.0, "h": 3600.0, "day": DAY_S}


class BadInput(ValueError):
    """A value or a file cannot be used. The text is one line for the user."""


class JobTimes(Protocol):
    """How long jobs take on a worker."""

    @property
    def mean_s(self) -> float:
        """The mean, in seconds."""

    def draw(self, random: np.random.Generator, count: int) -> Seconds:
        """The times of ``count`` jobs, in seconds."""


@dataclass(frozen=True)
class DrawnTimes:
    """Job times from a distribution. ``cv`` is the log-normal distribution's coefficient of variation."""

    mean_s: float
    distribution: Distribution
    cv: float

    def draw(self, random: np.random.Generator, count: int) -> Seconds:
        """The times of ``count`` jobs, in seconds."""
        if self.distribution == "constant":
            return np.full(count, self.mean_s)
        if self.distribution == "exponential":
            return random.exponential(self.mean_s, count)
        variance = math.log1p(self.cv**2)
        return random.lognormal(math.log(self.mean_s) - variance / 2, math.sqrt(variance), count)


@dataclass(frozen=True)
class MeasuredTimes:
    """Job times drawn from ``measured_s``, with replacement. In seconds."""

    measured_s: tuple[float, ...]

    @property
    def mean_s(self) -> float:
        """The mean, in seconds."""
        return math.fsum(self.measured_s) / len(self.measured_s)

    def draw(self, random: np.random.Generator, count: int) -> Seconds:
        """The times of ``count`` jobs, in seconds."""
        return random.choice(np.asarray(self.measured_s), count)


class Arrivals(Protocol):
    """When jobs arrive."""

    @property
    def hours(self) -> float:
        """For how many hours jobs arrive."""

    @property
    def rate(self) -> float:
        """Jobs per second, on average."""

    @property
    def peak_rate(self) -> float:
        """Jobs per second at the busiest time."""

    def draw(self, random: np.random.Generator) -> Seconds:
        """Arrival times, ascending, in seconds from 0."""


@dataclass(frozen=True)
class PoissonArrivals:
    """Independent arrivals. ``rate`` is the day's mean, in jobs per second. ``profile`` weighs equal parts of a day."""

    rate: float
    hours: float
    profile: tuple[float, ...] = (1.0,)

    @property
    def peak_rate(self) -> float:
        """Jobs per second in the busiest part of the day."""
        return self.rate * max(self.profile) * len(self.profile) / math.fsum(self.profile)

    def draw(self, random: np.random.Generator) -> Seconds:
        """Arrival times of one run. Each part of a day gets a Poisson number of jobs, spread over it at random."""
        end, part = self.hours * 3600, DAY_S / len(self.profile)
        weights = np.asarray(self.profile) * len(self.profile) / math.fsum(self.profile)
        times = []
        for index in range(math.ceil(end / part)):
            start, stop = index * part, min((index + 1) * part, end)
            count = random.poisson(self.rate * weights[index % len(weights)] * (stop - start))
            times.append(np.sort(random.uniform(start, stop, count)))
        return np.concatenate(times)


@dataclass(frozen=True)
class RecordedArrivals:
    """Recorded arrivals, the same in every run. ``times_s``: in seconds, ascending; the first is 0."""

    times_s: tuple[float, ...]

    @property
    def hours(self) -> float:
        """Hours from the first arrival to the last."""
        return self.times_s[-1] / 3600

    @property
    def rate(self) -> float:
        """Jobs per second, from the first arrival to the last."""
        return (len(self.times_s) - 1) / self.times_s[-1]

    @property
    def peak_rate(self) -> float:
        """The same as ``rate``, since a recording is not divided into parts of a day."""
        return self.rate

    def draw(self, random: np.random.Generator) -> Seconds:  # noqa: ARG002 - the protocol's signature.
        """The recorded times."""
        return np.asarray(self.times_s)


def read_rate(text: str) -> float:
    """Read a rate such as ``30/min``. Returns jobs per second.

    Raises:
        BadInput: ``text`` is no number above 0 with a unit.
    """
    number, _, unit = text.partition("/")
    rate = _number(number)
    if rate is None or rate <= 0 or unit.strip() not in _UNITS:
        raise BadInput(f"{text!r} is no rate above 0 with a unit: write it like 30/min, 0.5/s, 1200/h or 8000/day")
    return rate / _UNITS[unit.strip()]


def read_job_times(path: Path) -> MeasuredTimes:
    """Read job times from a file with a number of seconds on each line, or from a worker's log.

    Raises:
        BadInput: the file cannot be read, or is neither of them.
    """
    lines = _lines(path, "--job-trace")
    if any(line.startswith("{") for _, line in lines):
        times = [seconds for _, line in lines if (seconds := _logged_total(line)) is not None]
        if not times:
            raise BadInput(f"--job-trace {path}: no line of this log has 'seconds.total' above 0")
        return MeasuredTimes(tuple(times))
    return MeasuredTimes(_parsed(path, "--job-trace", lines, _positive, "a number of seconds above 0"))


def read_arrivals(path: Path) -> RecordedArrivals:
    """Read arrivals from a file with a time on each line: seconds (of any epoch), or ISO 8601 (UTC without a zone).

    Raises:
        BadInput: the file cannot be read, a line is no time, or all times are the same.
    """
    lines = _lines(path, "--arrivals")
    is_number = _number(lines[0][1]) is not None
    read, wants = (_number, "a number of seconds") if is_number else (_iso, "a time in ISO 8601")
    times = sorted(_parsed(path, "--arrivals", lines, read, f"{wants}, as line {lines[0][0]} is"))
    if times[0] == times[-1]:
        raise BadInput(f"--arrivals {path}: it takes at least two different times")
    return RecordedArrivals(tuple(time - times[0] for time in times))


def _lines(path: Path, option: str) -> list[tuple[int, str]]:
    """The lines that are not empty, with their numbers."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise BadInput(f"{option} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{option} {path}: this is no text file") from None
    lines = [(number, line.strip()) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise BadInput(f"{option} {path}: the file is empty")
    return lines


def _parsed(
    path: Path, option: str, lines: list[tuple[int, str]], read: Callable[[str], float | None], wants: str
) -> tuple[float, ...]:
    values = []
    for number, line in lines:
        value = read(line)
        if value is None:
            raise BadInput(f"{option} {path}, line {number}: {line[:40]!r} is not {wants}")
        values.append(value)
    return tuple(values)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _positive(text: str) -> float | None:
    value = _number(text)
    return value if value is not None and value > 0 else None


def _iso(text: str) -> float | None:
    """Seconds since 1970. A time without a zone counts as UTC."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        return None
    return time.replace(tzinfo=time.tzinfo or UTC).timestamp()


def _logged_total(line: str) -> float | None:
    try:
        entry = json.loads(line)
    except ValueError:
        return None
    seconds = entry.get("seconds") if isinstance(entry, dict) else None
    total = cast(object, seconds.get("total")) if isinstance(seconds, dict) else None
    return float(total) if isinstance(total, int | float) and 0 < total < math.inf else None
