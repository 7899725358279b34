"""Reads the command line of ``scripts/plan_fleet``, and makes the plan that it asks for."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

from command_line import read_number

from fleet.endpoint import Scaler, Start
from fleet.plan import Plan, Prices, choices
from fleet.traffic import (
    Arrivals,
    BadInput,
    Distribution,
    DrawnTimes,
    JobTimes,
    PoissonArrivals,
    read_arrivals,
    read_job_times,
    read_rate,
)

QUEUE_DELAY_S, LOGNORMAL_CV, HOURS = 4.0, 0.5, 24.0
# A run can hold so many jobs in memory; the hours of a year.
MOST_JOBS, MOST_HOURS = 10_000_000, 366 * 24


def make_parser(description: str, epilog: str) -> argparse.ArgumentParser:
    """The parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/plan_fleet",
        usage="scripts/plan_fleet [-h] --cold-start S --price-per-hour USD [OPTION ...]",
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_jobs(parser.add_argument_group("the jobs"))
    _add_platform(parser.add_argument_group("the platform"))
    _add_choices(parser.add_argument_group("the choices"))
    _add_simulation(parser.add_argument_group("the simulation"))
    return parser


def _add_jobs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    kinds = ("exponential", "constant", "lognormal")
    add("--job-seconds", type=_positive, metavar="S", help="mean time of a job on a warm worker")
    add("--job-distribution", choices=kinds, help="how job times vary (default: exponential)")
    add("--job-cv", type=_positive, metavar="CV", help="standard deviation ÷ mean, for lognormal (default: 0.5)")
    add("--job-trace", type=Path, metavar="FILE", help="measured job times, instead of these three")
    add("--rate", metavar="N/UNIT", help="arrivals at random: 30/min, 0.5/s, 1200/h or 8000/day")
    add("--day-profile", type=_listed(_natural), metavar="W,…", help="weights of equal parts of a day, around --rate")
    add("--arrivals", type=Path, metavar="FILE", help="recorded arrivals, instead of --rate")


def _add_platform(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--cold-start", type=_natural, metavar="S", required=True, help="from a worker's start until it takes a job")
    add("--flashboot-start", type=_natural, metavar="S", help="the same, where FlashBoot revives a worker")
    add("--flashboot-share", type=_share, metavar="P", help="share of starts where it does, 0 to 1 (default: 0)")
    add("--price-per-hour", type=_natural, metavar="USD", required=True, help="of a flex worker")
    add("--active-price-per-hour", type=_natural, metavar="USD", help="of an active worker (default: the same)")
    scaler = group.add_mutually_exclusive_group().add_argument
    scaler("--queue-delay", type=_natural, metavar="S", help="add a worker for a job that waited so long (default: 4)")
    scaler("--request-count", type=_count, metavar="N", help="instead, a worker for every N jobs in the endpoint")
    text = "of idle workers, the last used takes the next job (default: the one that idles longest)"
    add("--last-used-first", action="store_true", help=text)


def _add_choices(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    whole = _listed(_whole)
    add("--max-workers", type=_listed(_count), default=[1, 2, 3, 5], metavar="N,…", help="(default: 1,2,3,5)")
    add("--active-workers", type=whole, default=[0], metavar="N,…", help="always on, among them (default: 0)")
    add("--idle-timeout", type=_listed(_natural), default=[5, 30, 120], metavar="S,…", help="(default: 5,30,120)")
    text = "mark the cheapest choice in which 95 %% of jobs wait no longer, in every run"
    add("--target-p95", type=_natural, metavar="S", help=text)


def _add_simulation(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--hours", type=_positive, metavar="H", help="how long jobs arrive (default: 24; not with --arrivals)")
    add("--repeats", type=_count, default=5, metavar="N", help="runs of each choice, for the spread (default: 5)")
    add("--seed", type=_whole, default=1, metavar="N", help="(default: 1)")
    add("--json", action="store_true", help="print every figure of every run as JSON, instead of the table")
    add("--plot", type=Path, metavar="FILE.png", help="draw cost against waiting, and how busy GPUs are")


def make_plan(options: argparse.Namespace) -> Plan:
    """The plan that ``options`` ask for.

    Raises:
        BadInput: options do not go together, or a file cannot be used.
    """
    if options.plot and (options.plot.suffix.lower() != ".png" or not options.plot.absolute().parent.is_dir()):
        raise BadInput(f"--plot {options.plot}: it takes a name that ends with .png, in a folder that exists")
    chosen = choices(options.max_workers, options.active_workers, options.idle_timeout)
    if not chosen:
        raise BadInput("--active-workers are among --max-workers: at least one pair must fit")
    active_price = options.active_price_per_hour
    return Plan(
        arrivals=_arrivals(options),
        job_times=_job_times(options),
        start=_start(options),
        scaler=_scaler(options),
        prices=Prices(options.price_per_hour, options.price_per_hour if active_price is None else active_price),
        choices=chosen,
        repeats=options.repeats,
        seed=options.seed,
        last_used_first=options.last_used_first,
    )


def _job_times(options: argparse.Namespace) -> JobTimes:
    if (options.job_seconds is None) == (options.job_trace is None):
        raise BadInput("it takes either --job-seconds or --job-trace")
    if options.job_trace:
        if options.job_distribution or options.job_cv:
            raise BadInput("--job-distribution and --job-cv go with --job-seconds, not with --job-trace")
        return read_job_times(options.job_trace)
    kind: Distribution = options.job_distribution or "exponential"
    if options.job_cv and kind != "lognormal":
        raise BadInput(f"--job-cv goes with --job-distribution lognormal, not with {kind}")
    return DrawnTimes(options.job_seconds, kind, options.job_cv or LOGNORMAL_CV)


def _arrivals(options: argparse.Namespace) -> Arrivals:
    if (options.rate is None) == (options.arrivals is None):
        raise BadInput("it takes either --rate or --arrivals")
    if options.arrivals:
        if options.day_profile or options.hours:
            raise BadInput("--day-profile and --hours go with --rate, not with --arrivals")
        return read_arrivals(options.arrivals)
    profile = tuple(options.day_profile or (1.0,))
    if not any(profile):
        raise BadInput("--day-profile: at least one weight must be above 0")
    arrivals = PoissonArrivals(read_rate(options.rate), options.hours or HOURS, profile)
    if arrivals.rate * arrivals.hours * 3600 > MOST_JOBS or arrivals.hours > MOST_HOURS:
        raise BadInput(f"--rate and --hours: at most {MOST_JOBS} jobs and {MOST_HOURS} hours can be simulated")
    return arrivals


def _start(options: argparse.Namespace) -> Start:
    if (options.flashboot_start is None) != (options.flashboot_share is None):
        raise BadInput("--flashboot-start and --flashboot-share go together")
    return Start(options.cold_start, options.flashboot_start or 0.0, options.flashboot_share or 0.0)


def _scaler(options: argparse.Namespace) -> Scaler:
    if options.request_count:
        return Scaler("request-count", options.request_count)
    return Scaler("queue-delay", QUEUE_DELAY_S if options.queue_delay is None else options.queue_delay)


def _natural(text: str) -> float:
    return read_number(text, "not a number, 0 or above", lambda value: value >= 0)


def _positive(text: str) -> float:
    return read_number(text, "not a number above 0", lambda value: value > 0)


def _share(text: str) -> float:
    return read_number(text, "not a share from 0 to 1", lambda value: 0 <= value <= 1)


def _whole(text: str) -> int:
    return int(read_number(text, "not a whole number, 0 or above", lambda value: value >= 0 and value.is_integer()))


def _count(text: str) -> int:
    return int(read_number(text, "not a whole number above 0", lambda value: value > 0 and value.is_integer()))


def _listed(read: Callable[[str], float]) -> Callable[[str], list[float]]:
    """A reader of values with commas between them."""
    return lambda text: [read(part) for part in text.split(",")]
