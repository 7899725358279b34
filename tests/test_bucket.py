"""Files into a bucket: a real S3 server on loopback, one that fails on order, and none at all."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import graphs
import pytest
import requests
from comfy_server import free_port
from PIL import Image
from pydantic import SecretStr
from s3_server import FaultyS3, s3_server, stored

from worker import Worker
from worker.answer.reply import Answer
from worker.bucket.bucket import configured_bucket
from worker.bucket.uploads import Uploads, safe_job_id
from worker.errors import SettingsError
from worker.handler import JobHandler
from worker.settings import load_settings

Ask = Callable[..., Answer]


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as url:
        yield url


@contextlib.contextmanager
def asking(worker: Worker, endpoint: str, **changes: Any) -> Iterator[Ask]:
    """Gives jobs to a handler with this bucket."""
    bucket = {
        "bucket_endpoint_url": endpoint,
        "bucket_access_key_id": SecretStr("test-key-id"),
        "bucket_secret_access_key": SecretStr("test-secret-key"),
        "bucket_name": "pictures",
    }
    before, worker.settings = worker.settings, worker.settings.model_copy(update=bucket | changes)
    handler = JobHandler(worker)

    def ask(graph: dict[str, Any], job_id: str = "job-1", limit_mb: float | None = None, **more: Any) -> Answer:
        job = {"id": job_id, "input": {"workflow": graph}} | more
        return asyncio.run(handler.answer(job, limit_mb=limit_mb))

    try:
        yield ask
    finally:
        worker.settings = before


def fetched(entry: dict[str, str]) -> bytes:
    """What the URL of an entry gives to anyone."""
    assert entry["type"] == "s3_url"
    answer = requests.get(entry["data"], timeout=10)
    answer.raise_for_status()
    return answer.content


@pytest.mark.backends("embedded", "websocket")
def test_images_come_as_urls(worker: Worker, s3: str) -> None:
    with asking(worker, s3) as ask:
        answer = ask(graphs.solid(0x102030, batch=2), "my-job")
    assert set(answer) == {"images"}
    assert len(answer["images"]) == 2
    for entry in answer["images"]:
        assert entry["data"].startswith(f"{s3}/pictures/my-job/{entry['filename']}?")
        assert Image.open(io.BytesIO(fetched(entry))).getpixel((0, 0)) == (0x10, 0x20, 0x30)
        assert stored(s3)[f"my-job/{entry['filename']}"][1] == "image/png"


@pytest.mark.backends("embedded", "websocket")
def test_every_kind_keeps_its_folder_and_type(worker: Worker, s3: str) -> None:
    graph = graphs.solid() | {
        "5": graphs.node("TestSavesFile", key="gifs", subfolder="a/b", filename="clip.mp4", content="movie"),
        "6": graphs.node("TestShowsText", text="hello"),
    }
    with asking(worker, s3, bucket_prefix="/folder/") as ask:
        answer = ask(graph, "kinds")
    assert fetched(answer["files"][0]) == b"movie"
    assert answer["text"] == [{"node_id": "6", "text": "hello"}]
    assert stored(s3)["folder/kinds/a/b/clip.mp4"] == (b"movie", "video/mp4")


def test_an_equal_job_is_stored_again_under_its_own_id(worker: Worker, s3: str) -> None:
    with asking(worker, s3) as ask:
        first, second = (ask(graphs.solid(0x445566), job_id) for job_id in ("first", "second"))
    assert fetched(first["images"][0]) == fetched(second["images"][0])
    assert "/second/" in second["images"][0]["data"]


def test_uploads_begin_while_the_graph_still_runs(worker: Worker, s3: str) -> None:
    graph = graphs.solid(0x778899)
    graph["5"] = graphs.node("TestSavesFile", key="files", subfolder="", filename="early.txt", content="text")
    graph["8"] = graphs.node("TestSleeps", image=["1", 0], steps=50)
    graph["9"] = graphs.node("SaveImage", images=["8", 0], filename_prefix="late")
    with FaultyS3(s3) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graph, "early")
    at = {path.split("?")[0].rpartition("/")[2]: when for _, path, when in faulty.seen}
    assert set(at) == {"ComfyUI_00001_.png", "early.txt", "late_00001_.png"}
    assert at["late_00001_.png"] - max(at["ComfyUI_00001_.png"], at["early.txt"]) > 0.5
    assert len(answer["images"]) == 2


def test_the_client_is_made_while_the_graph_runs(tmp_path: Path) -> None:
    """Not when the first file is there: it takes a third of a second."""
    keys = {"bucket_access_key_id": SecretStr("id"), "bucket_secret_access_key": SecretStr("secret")}
    address = {"bucket_endpoint_url": "https://pictures.s3.eu-west-1.amazonaws.com"}
    bucket = configured_bucket(load_settings().model_copy(update={**address, **keys}))
    assert bucket is not None
    with contextlib.closing(Uploads(bucket, "job", tmp_path)):
        give_up = time.monotonic() + 30
        while "_client" not in vars(bucket):
            assert time.monotonic() < give_up
            time.sleep(0.01)


def test_a_large_file_goes_in_parts(worker: Worker, s3: str) -> None:
    graph = graphs.solid()
    graph["1"] = graphs.node("TestMakesNoise", width=3000, height=2500)
    with FaultyS3(s3) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graph, "large")
        assert sum("partNumber=" in path for _, path, _ in faulty.seen) >= 2
        assert Image.open(io.BytesIO(fetched(answer["images"][0]))).size == (3000, 2500)


@pytest.mark.backends("embedded", "websocket")
def test_a_server_that_is_busy_twice(worker: Worker, s3: str) -> None:
    answers = [503, 503]
    with FaultyS3(s3, lambda *_: answers.pop() if answers else None) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graphs.solid(1), "busy")
        assert set(answer) == {"images"}
        assert fetched(answer["images"][0])


def test_a_slow_server_gets_several_at_once(worker: Worker, s3: str) -> None:
    with FaultyS3(s3, delay_s=0.5) as faulty, asking(worker, faulty.url) as ask:
        start = time.monotonic()
        answer = ask(graphs.solid(2, batch=6), "slow")
        assert time.monotonic() - start < 2.5, "one after the other takes three seconds"
    assert [entry["type"] for entry in answer["images"]] == ["s3_url"] * 6


@pytest.mark.parametrize("status", [403, 0])
def test_what_cannot_be_stored_is_sent(worker: Worker, s3: str, status: int) -> None:
    with FaultyS3(s3, lambda *_: status) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graphs.solid(3), "refused")
    (entry,) = answer["images"]
    assert entry["type"] == "base64"
    assert base64.b64decode(entry["data"]).startswith(b"\x89PNG")
    (error,) = answer["errors"]
    assert error.startswith("ComfyUI_00001_.png could not be stored in the bucket (")
    assert error.endswith("it is sent as base64 instead")
    for secret in ("test-secret-key", "test-key-id", "Signature"):
        assert secret not in str(answer)


@pytest.mark.backends("embedded", "websocket")
def test_no_server_at_all(worker: Worker) -> None:
    port = free_port()
    with asking(worker, f"http://127.0.0.1:{port}") as ask:
        answer = ask(graphs.solid(4, batch=2), "nobody")
    assert [entry["type"] for entry in answer["images"]] == ["base64"] * 2
    assert len(answer["errors"]) == 2
    assert "EndpointConnectionError" in answer["errors"][0]


def test_a_server_that_hangs(worker: Worker, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long it takes its time, the job ends, and another job's bucket is not held up."""
    monkeypatch.setattr("worker.answer.delivery.GIVE_UP_S", 1.0)
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        asking(worker, f"http://127.0.0.1:{deaf.getsockname()[1]}") as ask,
    ):
        start = time.monotonic()
        answer = ask(graphs.solid(5, batch=12), "deaf")
        assert time.monotonic() - start < 5
    assert [entry["type"] for entry in answer["images"]] == ["base64"] * 12
    assert "no answer in 1 s" in answer["errors"][0]


def test_a_server_that_dies_in_the_middle(worker: Worker, s3: str) -> None:
    def fault(_: str, path: str) -> int | None:
        return None if path.split("?")[0].endswith(("_00001_.png", "_00002_.png")) else 0

    with FaultyS3(s3, fault) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graphs.solid(5, batch=4), "dying")
    assert [entry["type"] for entry in answer["images"]] == ["s3_url", "s3_url", "base64", "base64"]
    assert len(answer["errors"]) == 2


def test_what_is_neither_stored_nor_fits_is_named(worker: Worker, s3: str) -> None:
    graph = graphs.solid(6)
    graph["7"] = graphs.node("TestMakesNoise", width=700, height=700)
    graph["8"] = graphs.node("SaveImage", images=["7", 0], filename_prefix="noise")
    with FaultyS3(s3, lambda *_: 403) as faulty, asking(worker, faulty.url) as ask:
        answer = ask(graph, "both", limit_mb=1.0)
        assert [entry["filename"] for entry in answer["images"]] == ["ComfyUI_00001_.png"]
        sent, unsent = answer["errors"]
        assert sent == "ComfyUI_00001_.png could not be stored in the bucket (Ordered): it is sent as base64 instead"
        assert unsent == "noise_00001_.png could not be stored in the bucket (Ordered), and 1.5 MB do not fit in here"
        graph.pop("2")
        failed = ask(graph, "nothing", limit_mb=1.0)
    assert failed == {"error": "Job processing failed", "error_type": "delivery", "details": [unsent]}


def test_a_url_is_as_the_documents_show_it() -> None:
    settings = load_settings().model_copy(
        update={
            "bucket_endpoint_url": "https://my-bucket.s3.eu-west-1.amazonaws.com",
            "bucket_access_key_id": SecretStr("AKIAEXAMPLE"),
            "bucket_secret_access_key": SecretStr("secret"),
        }
    )
    bucket = configured_bucket(settings)
    assert bucket is not None
    url = bucket.client.generate_presigned_url(
        "get_object",
        Params={"Bucket": bucket.address.name, "Key": "id/ComfyUI_00001_.png"},
        ExpiresIn=bucket.expiry_s,
    )
    assert url.startswith("https://my-bucket.s3.eu-west-1.amazonaws.com/id/ComfyUI_00001_.png?X-Amz-Algorithm=")
    assert "X-Amz-Expires=604800" in url
    assert "secret" not in url
    assert "secret" not in repr(bucket)


def test_missing_keys_stop_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUCKET_ENDPOINT_URL", "https://b.s3.eu-west-1.amazonaws.com")
    with pytest.raises(SettingsError, match="BUCKET_ACCESS_KEY_ID and BUCKET_SECRET_ACCESS_KEY must be, too"):
        configured_bucket(load_settings())
    monkeypatch.setenv("BUCKET_ACCESS_KEY_ID", "id")
    with pytest.raises(SettingsError, match="and BUCKET_SECRET_ACCESS_KEY must be, too"):
        configured_bucket(load_settings())
    monkeypatch.setenv("BUCKET_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("BUCKET_ENDPOINT_URL", "http://minio:9000")
    with pytest.raises(SettingsError, match="put its name before the host, or set BUCKET_NAME"):
        configured_bucket(load_settings())


def test_job_ids_are_one_safe_part_of_a_key() -> None:
    assert safe_job_id("sync-1a2B_c.d") == "sync-1a2B_c.d"
    ids = ["../../etc", "a/b", "a\\b", "..", ".", "", "a b", "a?b", "\ud800", "x" * 500, "ü", "a%2fb"]
    safe = [safe_job_id(job_id) for job_id in ids]
    assert len(set(safe)) == len(ids)
    for text in safe:
        assert text
        assert not set(text) - set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-")
        assert text.strip(".")
        assert len(text) < 220


def test_a_job_can_bring_its_bucket(worker: Worker, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {"accessId": "test-key-id", "accessSecret": "test-secret-key", "bucketName": "pictures", "endpointUrl": s3}
    with asking(worker, s3, bucket_endpoint_url=None) as ask:
        refused = ask(graphs.solid(7), "mine", s3Config=config)
        assert refused == {
            "error": "'s3Config': 'endpointUrl': its host is not on the public internet",
            "error_type": "invalid_input",
        }
        monkeypatch.setattr("worker.bucket.public_only.is_public", lambda address: address == "127.0.0.1")
        answer = ask(graphs.solid(7), "mine", s3Config=config)
        assert fetched(answer["images"][0])
        assert "mine/ComfyUI_00001_.png" in stored(s3)


def test_two_jobs_folders_of_one_bucket_stay_apart(worker: Worker, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may name a folder, also where its host names the bucket."""
    monkeypatch.setattr("worker.bucket.public_only.is_public", lambda address: address == "127.0.0.1")
    monkeypatch.setattr("socket.getaddrinfo", only_loopback(socket.getaddrinfo))
    port = urlsplit(s3).port
    config = {"accessId": "test-key-id", "accessSecret": "test-secret-key", "bucketName": "pictures"}
    with asking(worker, s3, bucket_endpoint_url=None) as ask:
        for folder in ("first", "second"):
            endpoint = f"http://pictures.s3.localhost.test:{port}/{folder}"
            (entry,) = ask(graphs.solid(11), "job", s3Config=config | {"endpointUrl": endpoint})["images"]
            assert entry["data"].startswith(
                f"http://pictures.s3.localhost.test:{port}/{folder}/job/ComfyUI_00001_.png?"
            )


def only_loopback(look_up: Callable[..., Any]) -> Callable[..., Any]:
    """A name server that knows the buckets of one service, on loopback."""

    def answer(host: Any, *more: Any, **options: Any) -> Any:
        if str(host).endswith(".localhost.test"):
            if not str(host).startswith("pictures."):
                raise socket.gaierror("unknown")
            host = "127.0.0.1"
        return look_up(host, *more, **options)

    return answer


def test_a_jobs_bucket_that_has_two_names(worker: Worker, s3: str) -> None:
    config = {"accessId": "a", "accessSecret": "b", "bucketName": "mine"}
    with asking(worker, s3, bucket_endpoint_url=None) as ask:
        answer = ask(graphs.solid(8), s3Config=config | {"endpointUrl": "https://bkt.s3.eu-west-1.amazonaws.com"})
    error = "it names the bucket 'bkt', and 'bucketName' names 'mine': give one of them only"
    assert answer.get("error") == f"'s3Config': 'endpointUrl': {error}"


def test_a_jobs_bucket_that_leads_inside_gets_nothing(worker: Worker, s3: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever its name was when it was looked at: what counts is where the connection leads."""
    monkeypatch.setattr("worker.bucket.public_only.check_host", lambda _: None)
    config = {"accessId": "test-key-id", "accessSecret": "test-secret-key", "bucketName": "pictures"}
    with FaultyS3(s3) as faulty, asking(worker, s3, bucket_endpoint_url=None) as ask:
        answer = ask(graphs.solid(10), "inside", s3Config=config | {"endpointUrl": faulty.url})
        assert not faulty.seen, "not a byte was sent"
    assert [entry["type"] for entry in answer["images"]] == ["base64"]


def test_an_overwritten_file_is_the_one_that_counts(worker: Worker, s3: str) -> None:
    graph = graphs.solid(0x0000AA)
    graph["3"] = graphs.node("TestAfterSaving", image=["1", 0], path="ComfyUI_00001_.png")
    graph["4"] = graphs.node("ImageScale", image=["3", 0], upscale_method="area", width=8, height=8, crop="disabled")
    graph["5"] = graphs.node("TestSavesPicture", image=["4", 0], filename="ComfyUI_00001_.png")
    with FaultyS3(s3, delay_s=0.3) as faulty, asking(worker, faulty.url) as ask:
        entries = ask(graph, "overwritten")["images"]
        assert [entry["filename"] for entry in entries] == ["ComfyUI_00001_.png"] * 2, "both nodes name it"
        assert [Image.open(io.BytesIO(fetched(entry))).size for entry in entries] == [(8, 8)] * 2


@pytest.mark.parametrize(
    ("config", "error"),
    [
        ([], "'s3Config' must be an object, not a list"),
        ("x", "'s3Config' must be an object, not a string"),
        ({"accessId": "a"}, "'s3Config': 'accessSecret' must be a string that is not empty"),
        ({"accessId": 1}, "'s3Config': 'accessId' must be a string that is not empty"),
        (
            {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "file:///etc"},
            "'s3Config': 'endpointUrl': it must be an http(s) address, such as https://my-bucket.s3.eu-west-1.amazonaws.com",
        ),
        (
            {"accessId": "a", "accessSecret": "b", "bucketName": "c", "endpointUrl": "http://169.254.169.254/"},
            "'s3Config': 'endpointUrl': its host is not on the public internet",
        ),
    ],
)
def test_a_bucket_that_makes_no_sense(worker: Worker, s3: str, config: Any, error: str) -> None:
    with asking(worker, s3, bucket_endpoint_url=None) as ask:
        answer = ask(graphs.solid(8), s3Config=config)
    assert answer.get("error") == error


def test_runpods_own_uploader(worker: Worker, s3: str) -> None:
    """It needs no name of a bucket: it makes one up."""
    bucket = time.strftime("%m-%y")
    import s3_server

    s3_server.client(s3).create_bucket(Bucket=bucket)
    with asking(worker, s3, bucket_uploader="runpod", bucket_name=None) as ask:
        (entry,) = ask(graphs.solid(9), "theirs")["images"]
    assert entry["data"].startswith(f"{s3}/{bucket}/theirs/")
    assert len(Path(entry["data"].split("?")[0]).name) == len("12345678.png")
    assert fetched(entry).startswith(b"\x89PNG")
    assert not os.path.exists("local_upload")  # noqa: PTH110
