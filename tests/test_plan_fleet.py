"""``scripts/plan_fleet``: its queue against theory, its scaler and bill against sums by hand, and its command line."""

from __future__ import annotations

import json
import math
import statistics
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import plan_fleet
import pytest
import queueing
from fleet.endpoint import Choice, Endpoint, Outcome, Scaler, Start
from fleet.plan import Prices, choices, figures_of
from fleet.traffic import Distribution, DrawnTimes, PoissonArrivals, read_arrivals, read_job_times, read_rate
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
RUNS, JOBS, JOB_S = 20, 8_000, 4.0
STUDENT_T = 3.883  # 99.95 % of its distribution with RUNS - 1 degrees of freedom.
DELAY, AT_ONCE, PER_JOB = Scaler("queue-delay", 4.0), Scaler("queue-delay", 0.0), Scaler("request-count", 1)
QUICK = ("--cold-start", "20", "--price-per-hour", "3.6", "--hours", "0.5", "--repeats", "2")


def always_on(servers: int) -> Choice:
    """A fleet that neither starts nor stops a worker."""
    return Choice(servers, servers, 0.0)


def run(
    choice: Choice, arrivals: list[float], seconds: list[float], *, start: Start | float = 0.0, scaler: Scaler = DELAY,
    last_used_first: bool = False, horizon_s: float = 0.0,
) -> Outcome:  # fmt: skip
    """One run of an endpoint."""
    start = start if isinstance(start, Start) else Start(start)
    endpoint = Endpoint(choice, start, scaler, np.random.default_rng(7), last_used_first)
    return endpoint.run(arrivals, seconds, horizon_s)


def independent_runs(
    choice: Choice, rate: float, *, distribution: Distribution = "exponential", scaler: Scaler = DELAY
) -> list[Outcome]:
    """``RUNS`` runs with fixed seeds of about ``JOBS`` jobs each, at ``rate`` jobs a second."""
    arrivals, times = PoissonArrivals(rate, JOBS / rate / 3600), DrawnTimes(JOB_S, distribution, 0.5)
    outcomes = []
    for seed in range(RUNS):
        random = np.random.default_rng(seed)
        at = arrivals.draw(random).tolist()
        outcomes.append(run(choice, at, times.draw(random, len(at)).tolist(), scaler=scaler, horizon_s=JOBS / rate))
    return outcomes


def assert_mean(values: list[float], theory: float, precision: float) -> None:
    """The 99.9 % interval of Student's t over the runs holds ``theory``, and is narrower than ±``precision``."""
    half = STUDENT_T * statistics.stdev(values) / math.sqrt(len(values))
    assert half <= precision, "too few jobs to tell"
    assert abs(statistics.mean(values) - theory) <= half


@pytest.mark.parametrize("load", [0.3, 0.6, 0.8])
@pytest.mark.parametrize("servers", [1, 2, 5])
def test_waiting_is_that_of_erlang_c(servers: int, load: float) -> None:
    rate = load * servers / JOB_S
    outcomes = independent_runs(always_on(servers), rate)
    theory = queueing.mean_wait(servers, rate, JOB_S)
    assert_mean([statistics.fmean(each.waits_s) for each in outcomes], theory, max(0.15 * theory, 0.02))
    for limit in (0.0, 2.0, 8.0):
        shares = [float(np.mean(np.asarray(each.waits_s) > limit)) for each in outcomes]
        assert_mean(shares, queueing.wait_above(limit, servers, rate, JOB_S), 0.03)
    used = [each.busy_s / each.active_billed_s for each in outcomes]
    assert_mean(used, load, 0.02)
    assert all(each.flex_billed_s == 0 and not any(each.cold) for each in outcomes)


def test_erlang_c_itself() -> None:
    assert queueing.erlang_c(1, 0.7) == pytest.approx(0.7)  # M/M/1: a job waits when the server is busy.
    assert queueing.erlang_c(2, 1.0) == pytest.approx(1 / 3)  # ρ = 1/2: 2ρ² / (1 + ρ).


@pytest.mark.parametrize(("distribution", "cv"), [("constant", 0.0), ("lognormal", 0.5)])
def test_waiting_at_one_worker_is_that_of_pollaczek_and_khinchine(distribution: Distribution, cv: float) -> None:
    rate = 0.7 / JOB_S
    outcomes = independent_runs(always_on(1), rate, distribution=distribution)
    theory = queueing.pollaczek_khinchine(rate, JOB_S, cv)
    assert_mean([statistics.fmean(each.waits_s) for each in outcomes], theory, 0.1 * theory)


@pytest.mark.parametrize("scaler", [AT_ONCE, PER_JOB])
@pytest.mark.parametrize("idle", [0.0, 60.0])
def test_flex_workers_that_start_at_once_are_as_good_as_active_ones(scaler: Scaler, idle: float) -> None:
    rate = 0.6 * 3 / JOB_S
    outcomes = independent_runs(Choice(3, 0, idle), rate, scaler=scaler)
    theory = queueing.mean_wait(3, rate, JOB_S)
    assert_mean([statistics.fmean(each.waits_s) for each in outcomes], theory, 0.15 * theory)


def test_a_trace_by_hand() -> None:
    # Two workers at most, start 6 s, a worker for each job that waited 2 s, idle time-out 5 s, jobs of 4 s.
    # 0 and 1 arrive; their workers start at 2 and 3 and are ready at 8 and 9: both waited 8 s, and end at 12 and 13.
    # 11 finds both busy and gets the first at 12. The second worker stops at 18: 15 s billed. The first is idle from
    # 16, takes the job of 20 at once, is idle from 24 and stops at 29: 27 s. 40 finds none: start at 42, ready at 48,
    # done at 52, stop at 57: 15 s.
    outcome = run(Choice(2, 0, 5.0), [0, 1, 11, 20, 40], [4] * 5, start=6.0, scaler=Scaler("queue-delay", 2.0))
    assert outcome.waits_s == [8, 8, 1, 0, 8]
    assert outcome.cold == [True, True, False, False, True]
    assert (outcome.flex_billed_s, outcome.active_billed_s, outcome.busy_s, outcome.span_s) == (15 + 27 + 15, 0, 20, 57)


def test_no_worker_is_added_where_enough_are_on_their_way() -> None:
    # The job of 0 makes a worker start at 2; it runs from 12 to 24. The job of 20 makes a second start at 22, but is
    # taken by the first at 24. So the second is on its way for the job of 26, and there is no third.
    outcome = run(Choice(9, 0, 5.0), [0, 20, 26], [12] * 3, start=10.0, scaler=Scaler("queue-delay", 2.0))
    assert outcome.waits_s == [12, 4, 6]
    assert outcome.flex_billed_s == (24 + 12 + 5 - 2) + (32 + 12 + 5 - 22)


def test_an_active_worker_takes_what_comes_while_a_flex_worker_starts() -> None:
    # The active worker is busy until 10. 1 waits 4 s, a worker starts at 5 and is ready at 25; the active one takes the
    # job at 10. The flex worker finds nothing, and stops at 30.
    outcome = run(Choice(2, 1, 5.0), [0, 1], [10, 10], start=20.0, horizon_s=100)
    assert outcome.waits_s == [0, 9]
    assert outcome.cold == [False, True]
    assert (outcome.flex_billed_s, outcome.active_billed_s) == (25, 100)


def test_what_is_billed_is_rounded_up_for_each_worker() -> None:
    outcome = run(Choice(1, 0, 5.0), [0, 100], [2.0, 2.0], start=1.5, scaler=AT_ONCE)
    assert outcome.flex_billed_s == 9 + 9  # 8.5 s each.


def test_a_worker_for_every_two_jobs() -> None:
    outcome = run(Choice(9, 0, 1.0), [0, 0, 0, 0, 0], [4] * 5, start=10.0, scaler=Scaler("request-count", 2))
    assert outcome.waits_s == [10, 10, 10, 14, 14]  # ⌈5 / 2⌉ = 3 workers.


def test_which_idle_worker_takes_the_next_job() -> None:
    # The workers of the first two jobs are idle from 1 and from 2. In turn: 5 and 12 go to the first, which stops at
    # 13 + 8, and 8 to the second, which stops at 9 + 8. Last used first: all go to the second; the first stops at 9.
    arrivals, lengths = [0.0, 0.0, 5.0, 8.0, 12.0], [1.0, 2.0, 1.0, 1.0, 1.0]
    fair, last = (
        run(Choice(2, 0, 8.0), arrivals, lengths, scaler=AT_ONCE, last_used_first=last) for last in (False, True)
    )
    assert fair.waits_s == last.waits_s == [0, 0, 0, 0, 0]
    assert (fair.flex_billed_s, last.flex_billed_s) == (21 + 17, 21 + 9)


def test_flashboot_shortens_its_share_of_starts() -> None:
    arrivals = [index * 100.0 for index in range(2000)]
    outcome = run(Choice(1, 0, 5.0), arrivals, [1.0] * 2000, start=Start(30.0, 2.0, 0.25), scaler=AT_ONCE)
    assert set(outcome.waits_s) == {2.0, 30.0}
    share = outcome.waits_s.count(2.0) / 2000
    assert share == pytest.approx(0.25, abs=3.3 * math.sqrt(0.25 * 0.75 / 2000))


def test_what_it_costs() -> None:
    outcome = Outcome([1.0, 3.0], [True, False], 450.0, 900, 1800.0, 3600.0)
    figures = figures_of(outcome, Prices(flex=4.0, active=3.0))
    assert figures.cost_per_hour == pytest.approx(1.0 + 1.5)
    assert figures.cost_per_1000_jobs == pytest.approx(1250.0)
    assert figures.utilisation == pytest.approx(450 / 2700)
    assert (figures.wait_p50_s, figures.wait_max_s, figures.cold_share) == (2.0, 3.0, 0.5)


def test_choices_that_fit_together() -> None:
    assert choices([1, 2], [0, 2], [30, 5]) == (
        Choice(1, 0, 5), Choice(1, 0, 30), Choice(2, 0, 5), Choice(2, 0, 30), Choice(2, 2, 0),
    )  # fmt: skip


def test_a_day_has_busy_hours() -> None:
    arrivals = PoissonArrivals(1.0, 48.0, (0.0, 1.0, 3.0, 0.0))
    times = arrivals.draw(np.random.default_rng(3))
    assert (np.diff(times) >= 0).all()
    counts = np.histogram(times, bins=np.arange(9) * 21600.0)[0]
    expected = np.array([0, 21600, 64800, 0] * 2)
    assert (np.abs(counts - expected) <= 3.3 * np.sqrt(expected)).all()
    assert arrivals.peak_rate == 3.0


@pytest.mark.parametrize(("distribution", "cv"), [("exponential", 1.0), ("constant", 0.0), ("lognormal", 0.5)])
def test_drawn_job_times(distribution: Distribution, cv: float) -> None:
    times = DrawnTimes(4.2, distribution, 0.5).draw(np.random.default_rng(1), 100_000)
    assert times.mean() == pytest.approx(4.2, rel=0.015)
    assert times.std() / times.mean() == pytest.approx(cv, abs=0.02)


@pytest.mark.parametrize(("text", "rate"), [("30/min", 0.5), ("2/s", 2.0), ("1800/h", 0.5), ("86400 / day", 1.0)])
def test_rates(text: str, rate: float) -> None:
    assert read_rate(text) == pytest.approx(rate)


def test_times_from_files(tmp_path: Path) -> None:
    numbers, log, stamps, dates = (tmp_path / name for name in ("numbers", "log", "stamps", "dates"))
    numbers.write_text("4.5\n\n3\n")
    job = {"requestId": "a", "message": "Job a: completed", "outcome": "completed"}
    lines = [json.dumps(job | {"seconds": {"total": total, "run": 1}}) for total in (2.5, 3.5)]
    log.write_text("\n".join(["starting", lines[0], '{"message": "other"}', "{torn", lines[1]]))
    stamps.write_text("1700000010\n1700000000\n1700000001.5\n")
    dates.write_text("2026-11-22T03:04:34Z\n2026-11-22T03:04:35.5\n2026-11-22T04:04:44+01:00\n")
    assert read_job_times(numbers).measured_s == (4.5, 3.0)
    assert read_job_times(log).measured_s == (2.5, 3.5)
    assert read_job_times(log).mean_s == 3.0
    assert set(read_job_times(log).draw(np.random.default_rng(0), 50).tolist()) == {2.5, 3.5}
    assert read_arrivals(stamps).times_s == (0.0, 1.5, 10.0)
    assert read_arrivals(dates).times_s == (0.0, 1.5, 10.0)


def plan(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """``scripts/plan_fleet ARGUMENTS``."""
    command = [ROOT / "scripts" / "plan_fleet", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_table_and_plot(tmp_path: Path) -> None:
    picture = tmp_path / "plan.png"
    done = plan(
        "--job-seconds", "4", "--rate", "30/min", "--max-workers", "2,4", "--active-workers", "0,4", "--idle-timeout",
        "5,30", "--target-p95", "30", "--plot", picture, *QUICK,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("1800 jobs an hour for 0.5 h, 4 s each (exponential), start 20 s, queue-delay 4")
    assert done.stdout.count("grows") == 4
    assert done.stdout.count("◀ cheapest") == 1
    assert "Cheapest with 95 % of waits within 30 s in each of 2 runs: 4 workers (0 active)" in done.stdout
    assert "2 workers: jobs bring 1.00 times the work that can be done" in done.stderr
    assert "it takes at least 3" in done.stderr
    with Image.open(picture) as image:
        assert image.size == (1320, 616)
        colors = {color: count for count, color in image.convert("RGB").getcolors(1 << 20) or []}
    assert min(colors.get(color, 0) for color in ((0, 114, 178), (230, 159, 0), (85, 85, 85))) > 50


def figures(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> tuple[int, Any]:
    """The exit code, and what ``--json`` prints."""
    code = plan_fleet.main([str(argument) for argument in (*arguments, "--json")])
    return code, json.loads(capsys.readouterr().out)


def test_json_of_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "times").write_text("4\n")
    (tmp_path / "arrivals").write_text("100\n101\n111\n120\n140\n")
    code, told = figures(
        capsys, "--job-trace", tmp_path / "times", "--arrivals", tmp_path / "arrivals", "--cold-start", "6",
        "--price-per-hour", "3.6", "--max-workers", "2", "--idle-timeout", "5", "--queue-delay", "2",
        "--target-p95", "8", "--repeats", "2",
    )  # fmt: skip
    assert code == 0
    assert told["cheapest"] == 0
    (choice,) = told["choices"]
    assert choice["runs"][0] == choice["runs"][1]
    assert choice["runs"][0]["jobs"] == 5
    assert choice["runs"][0]["flex_billed_s"] == 57  # The trace by hand.
    assert choice["runs"][0]["cost_per_1000_jobs"] == pytest.approx(57 * 0.001 / 5 * 1000)
    assert choice["runs"][0]["cost_per_hour"] == pytest.approx(3.6)
    assert choice["load"] == pytest.approx(0.1 * 4 / 2)


def test_a_seed_repeats_itself(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--job-seconds", "4", "--rate", "10/min", "--max-workers", "2", *QUICK)
    _, first = figures(capsys, *arguments, "--seed", "5")
    _, again = figures(capsys, *arguments, "--seed", "5")
    _, other = figures(capsys, *arguments, "--seed", "6")
    assert first == again
    assert first["choices"] != other["choices"]
    one, two = first["choices"][0]["runs"]
    assert one != two


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("--rate", "2/s"), "5 workers: jobs bring 1.60 times the work that can be done, so the queue grows"),
        (("--rate", "2/min", "--target-p95", "0"), "No choice keeps 95 % of waits within 0 s in every run"),
    ],
)  # fmt: skip
def test_where_no_choice_will_do(capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], text: str) -> None:
    assert plan_fleet.main(["--job-seconds", "4", *QUICK, *arguments]) == 1
    told = capsys.readouterr()
    assert text in told.out + told.err


def test_hours_without_a_job(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--job-seconds", "4", "--rate", "0.001/day", "--max-workers", "1", "--active-workers", "0,1")
    code, told = figures(capsys, *arguments, *QUICK)
    assert code == 0
    assert {run["jobs"] for choice in told["choices"] for run in choice["runs"]} == {0}
    assert told["choices"][-1]["runs"][0]["cost_per_hour"] == pytest.approx(3.6)


def test_a_plot_that_cannot_be_written(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "plan.png").mkdir()
    arguments = ("--job-seconds", "4", "--rate", "2/min", "--plot", str(tmp_path / "plan.png"), *QUICK)
    assert plan_fleet.main(arguments) == 1
    assert "plan.png" in capsys.readouterr().err.splitlines()[-1]


def test_a_busy_hour_that_is_too_busy_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--job-seconds", "4", "--rate", "10/min", "--day-profile", "3,1", "--max-workers", "1", *QUICK)
    assert plan_fleet.main(list(arguments)) == 0
    assert "1 worker: in the busiest part of the day jobs bring 1.00 times the work" in capsys.readouterr().err


JOB, RATE = ("--job-seconds", "4"), ("--rate", "2/min")


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ((*JOB, "--rate", "-3/min"), "'-3/min' is no rate above 0 with a unit: write it like 30/min"),
        ((*JOB, "--rate", "3"), "'3' is no rate above 0 with a unit"),
        ((*JOB, "--rate", "1e9/min"), "--rate and --hours: at most 10000000 jobs and 8784 hours can be simulated"),
        ((*JOB, *RATE, "--hours", "1e9"), "at most 10000000 jobs and 8784 hours"),
        ((*JOB, *RATE, "--max-workers", "0"), "argument --max-workers: '0' is not a whole number above 0"),
        ((*JOB, *RATE, "--idle-timeout", "5,"), "argument --idle-timeout: '' is not a number, 0 or above"),
        ((*JOB, *RATE, "--cold-start", "nan"), "argument --cold-start: 'nan' is not a number, 0 or above"),
        (("--job-seconds", "0", *RATE), "argument --job-seconds: '0' is not a number above 0"),
        ((*JOB, *RATE, "--flashboot-share", "2"), "'2' is not a share from 0 to 1"),
        ((*JOB, *RATE, "--flashboot-share", "0.5"), "--flashboot-start and --flashboot-share go together"),
        ((*JOB, *RATE, "--active-workers", "9"), "--active-workers are among --max-workers"),
        ((*JOB, *RATE, "--job-cv", "0.5"), "--job-cv goes with --job-distribution lognormal, not with exponential"),
        ((*JOB, *RATE, "--day-profile", "0,0"), "--day-profile: at least one weight must be above 0"),
        ((*JOB, *RATE, "--plot", "plan.jpg"), "--plot plan.jpg: it takes a name that ends with .png"),
        ((*JOB, *RATE, "--queue-delay", "1", "--request-count", "2"), "not allowed with argument --queue-delay"),
        (JOB, "it takes either --rate or --arrivals"),
        (RATE, "it takes either --job-seconds or --job-trace"),
        ((*RATE, "--job-trace", "FILE"), "line 2: 'x' is not a number of seconds above 0"),
        ((*RATE, "--job-trace", "missing"), "--job-trace missing: No such file or directory"),
        ((*JOB, "--arrivals", "FILE"), "line 2: 'x' is not a number of seconds, as line 1 is"),
    ],
)
def test_what_it_refuses(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], text: str
) -> None:
    (tmp_path / "file").write_text("1\nx\n")
    given = [str(tmp_path / "file") if argument == "FILE" else argument for argument in arguments]
    assert exit_code(lambda: plan_fleet.main([*QUICK[:4], *given])) == 2
    told = capsys.readouterr()
    assert text in told.err
    assert not told.out


def exit_code(program: Callable[[], int]) -> int | str | None:
    """What ``program`` returns, or ends with."""
    try:
        return program()
    except SystemExit as error:
        return error.code
