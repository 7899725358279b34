"""What Prometheus reads: of a local API, and of a worker for RunPod; and the dashboard that shows it."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import graphs
import pytest
import requests
from comfy_server import free_port
from local_api import post, request, serving, sleeping, until
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse
from pydantic import SecretStr
from runpod_worker import Start
from s3_server import FaultyS3, s3_server

from worker import Worker

DASHBOARD = Path(__file__).resolve().parents[1] / "examples" / "monitoring" / "grafana-dashboard.json"
Samples = dict[str, list[tuple[dict[str, str], float]]]


def scraped(url: str, **headers: str) -> Samples:
    """The samples of a page by name, read with Prometheus's own parser."""
    answer = requests.get(f"{url}/metrics", headers=headers, timeout=10)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    found: Samples = {}
    for family in parse(answer.text):
        for sample in family.samples:
            found.setdefault(sample.name, []).append((dict(sample.labels), sample.value))
    return found


def value(samples: Samples, name: str, **labels: str) -> float:
    """The one sample with these labels; 0 if there is none yet."""
    found = [number for own, number in samples.get(name, []) if labels.items() <= own.items()]
    assert len(found) <= 1, found
    return found[0] if found else 0.0


@pytest.fixture(scope="module")
def url(worker: Worker) -> Iterator[str]:
    """The address of a local API that has run some jobs. Its answers have no metrics."""
    with serving(worker, report_metrics="off", gpu_price_per_hour=36.0) as address:
        yield address


def test_jobs_are_counted_by_outcome_with_their_seconds(url: str) -> None:
    before = scraped(url)
    answer = post(f"{url}/runsync", request(graphs.through("TestSleeps", 0x310101, steps=25)))
    post(f"{url}/runsync", request(graphs.through("TestRaises")))
    post(f"{url}/runsync", request({"1": {}}))
    assert "metrics" not in answer["output"]
    after = scraped(url)

    def grew(name: str, **labels: str) -> float:
        return value(after, name, **labels) - value(before, name, **labels)

    for outcome in ("completed", "workflow_execution", "invalid_input"):
        assert grew("comfy_worker_jobs_total", outcome=outcome) == 1
    assert grew("comfy_worker_job_seconds_count") == 3
    execution = {"phase": "execution", "overlaps": "false"}
    assert grew("comfy_worker_phase_seconds_count", **execution) == 2
    assert grew("comfy_worker_phase_seconds_sum", **execution) > 0.45
    held = grew("comfy_worker_gpu_seconds_total")
    assert held > 0.45
    assert grew("comfy_worker_cost_total") == pytest.approx(held / 100), "36 an hour are 0.01 a second"
    assert grew("comfy_worker_output_bytes_total") > 0
    assert value(after, "process_resident_memory_bytes") > 100e6
    assert value(after, "comfy_worker_job_rss_peak_bytes") > 100e6


def test_the_phases_of_all_jobs_add_up_to_their_seconds(url: str) -> None:
    post(f"{url}/runsync", request(graphs.solid(0x310201)))
    samples = scraped(url)
    phases = [number for own, number in samples["comfy_worker_phase_seconds_sum"] if own["overlaps"] == "false"]
    assert sum(phases) == pytest.approx(value(samples, "comfy_worker_job_seconds_sum"))


def test_what_waits_and_what_runs_is_seen_now(url: str) -> None:
    running = post(f"{url}/run", request(sleeping()))["id"]
    until(url, running, "IN_PROGRESS")
    waiting = post(f"{url}/run", request(graphs.solid()))["id"]
    samples = scraped(url)
    assert value(samples, "comfy_worker_queue_jobs", place="api") == 1
    assert value(samples, "comfy_worker_jobs_in_progress") == 1
    post(f"{url}/cancel/{running}")
    until(url, waiting, "COMPLETED")
    samples = scraped(url)
    assert value(samples, "comfy_worker_queue_jobs", place="api") == 0
    assert value(samples, "comfy_worker_jobs_in_progress") == 0
    assert value(samples, "comfy_worker_jobs_total", outcome="stopped") == 1


def test_jobs_that_wait_for_their_turn_are_seen(worker: Worker) -> None:
    with serving(worker, worker_concurrency=2) as url:
        first = post(f"{url}/run", request(sleeping()))["id"]
        until(url, first, "IN_PROGRESS")
        second = post(f"{url}/run", request(graphs.solid(0x310301)))["id"]
        end = time.monotonic() + 10
        while value(scraped(url), "comfy_worker_queue_jobs", place="turn") != 1:
            assert time.monotonic() < end
        post(f"{url}/cancel/{first}")
        until(url, second, "COMPLETED")
        assert value(scraped(url), "comfy_worker_queue_jobs", place="turn") == 0


def test_cached_nodes_models_and_the_bucket_are_counted(worker: Worker, tiny_checkpoint: Path) -> None:
    copy = tiny_checkpoint.with_name("metrics.safetensors")
    copy.write_bytes(tiny_checkpoint.read_bytes())
    keys = {"bucket_access_key_id": SecretStr("test-key-id"), "bucket_secret_access_key": SecretStr("test-secret-key")}
    graph = graphs.text_to_image(seed=21, checkpoint=copy.name)
    with s3_server() as target, FaultyS3(target, lambda *_: 403) as s3:
        bucket = {"bucket_endpoint_url": s3.url, "bucket_name": "pictures", **keys}
        with serving(worker, **bucket) as url:
            post(f"{url}/runsync", request(graph))
            post(f"{url}/runsync", request(graph))
            samples = scraped(url)
    assert value(samples, "comfy_worker_bucket_errors_total") == 2
    assert value(samples, "comfy_worker_model_reads_total") == 1
    assert value(samples, "comfy_worker_model_read_bytes_total") == copy.stat().st_size
    assert value(samples, "comfy_worker_nodes_total", result="run") >= 7
    assert value(samples, "comfy_worker_nodes_total", result="cached") >= 6
    assert value(samples, "comfy_worker_phase_seconds_count", phase="model_load", overlaps="true") >= 1


def test_a_scraper_may_ask_for_openmetrics(url: str) -> None:
    answer = requests.get(
        f"{url}/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"}, timeout=9
    )
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert "comfy_worker_jobs" in {family.name for family in parse_openmetrics(answer.text)}  # type: ignore[no-untyped-call]


def test_the_page_needs_the_token_and_no_other_site_gets_it(worker: Worker) -> None:
    with serving(worker, local_api_token=SecretStr("s3cret")) as url:
        for headers in ({}, {"Authorization": "Bearer wrong"}):
            answer = requests.get(f"{url}/metrics", headers=headers, timeout=9)
            assert answer.status_code == 401
            assert "comfy_worker" not in answer.text
        assert scraped(url, Authorization="Bearer s3cret")
        evil = requests.get(f"{url}/metrics", headers={"Authorization": "Bearer s3cret", "Host": "evil.com"}, timeout=9)
        assert evil.status_code == 403


def test_a_worker_for_runpod_has_a_page_of_its_own(start: Start, as_client: dict[str, str]) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = {"METRICS_PORT": str(port), "LOCAL_API_TOKEN": "s3cret", "REPORT_METRICS": "on", **as_client}
    with start(**variables) as process:
        assert requests.get(f"{url}/metrics", timeout=9).status_code == 401
        assert requests.get(f"{url}/", timeout=9).status_code == 404
        assert requests.post(f"{url}/metrics", timeout=9).status_code == 501
        process.api.give("one", {"workflow": graphs.solid(0x310401)})
        output = process.api.result("one")["output"]
        assert output["metrics"]["total_ms"] > 0
        samples = scraped(url, Authorization="Bearer s3cret")
        assert value(samples, "comfy_worker_jobs_total", outcome="completed") == 1
        assert value(samples, "comfy_worker_cold_jobs_total") == 1
        with socket.create_connection(("127.0.0.1", port)) as half:
            half.sendall(b"GET /metrics HTTP/1.1\r\n")  # And never more.
            assert scraped(url, Authorization="Bearer s3cret")
        process.process.terminate()
        assert process.end() == 0
        assert "Traceback" not in process.log()


def test_a_port_that_is_taken_stops_the_start_with_one_line(start: Start, as_client: dict[str, str]) -> None:
    with socket.create_server(("", 0)) as taken:
        port = taken.getsockname()[1]
        with start(METRICS_PORT=str(port), wait=False, **as_client) as process:
            assert process.end() == 3
            line = f"METRICS_PORT={port} cannot be listened on (Address already in use): use another port"
            assert line in process.log()
            assert "Traceback" not in process.log()


@pytest.mark.parametrize("variable", ["REPORT_METRICS=loud", "METRICS_PORT=99999", "GPU_PRICE_PER_HOUR=cheap"])
def test_a_bad_value_stops_the_start_with_one_line(command: Callable[..., Any], variable: str) -> None:
    name, _, bad = variable.partition("=")
    answer = command("serve", **{name: bad, "SERVE_API_LOCALLY": "true"})
    assert answer.returncode == 3
    (line,) = answer.stderr.strip().splitlines()
    assert f"{name}='{bad}' cannot be read: it takes " in line


def _queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def _names(query: str) -> set[str]:
    return set(re.findall(r"\b(?:comfy_worker|process)_\w+", query))


def test_each_query_of_the_dashboard_asks_for_what_is_there(url: str, worker: Worker) -> None:
    post(f"{url}/runsync", request(graphs.solid(0x310501)))
    samples = scraped(url)
    known = {name: {key for own, _ in found for key in own} for name, found in samples.items()}
    # There is no CUDA device here: the family is told without a sample.
    text = requests.get(f"{url}/metrics", timeout=9).text
    assert "# TYPE comfy_worker_vram_bytes gauge" in text
    known["comfy_worker_vram_bytes"] = {"state"}
    asked = set().union(*map(_names, _queries()))
    assert asked <= set(known), asked - set(known)
    for query in _queries():
        labels = set(re.findall(r"(\w+)=~?\"", query)) | set(re.findall(r"by \((\w+)\)", query)) - {"le"}
        own = set().union(*(known[name] for name in _names(query)))
        assert labels - {"instance"} <= own, query
    shown = {name.removesuffix("_bucket").removesuffix("_sum").removesuffix("_count") for name in asked}
    told = {name for name in re.findall(r"^# TYPE (\S+)", text, re.MULTILINE) if name.startswith("comfy_worker")}
    assert {name for name in told if not name.endswith("_created")} <= shown, "each number is on the dashboard"


def test_the_dashboard_needs_nothing_of_the_machine_it_was_made_on() -> None:
    dashboard = json.loads(DASHBOARD.read_text("utf-8"))
    panels = dashboard["panels"]
    assert {panel["datasource"]["uid"] for panel in panels} == {"${datasource}"}
    assert all(panel["description"] and panel["title"] for panel in panels)
    places = [
        (x, y)
        for panel in panels
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    ]
    assert len(places) == len(set(places)), "no panel lies on another"
    assert max(x for x, _ in places) < 24
