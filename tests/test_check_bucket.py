"""``check --bucket``: a real S3 server on loopback with keys and permissions, and one that refuses on order."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import boto3
import pytest
import requests
import s3_server as support
from comfy_server import free_port
from s3_server import FaultyS3, Refusal, s3_server, stored

from worker.cli.check.bucket import check_bucket
from worker.errors import StartError
from worker.settings import load_settings

Check = Callable[..., tuple[int, str]]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
KEYS = {"BUCKET_ACCESS_KEY_ID": "test-key-id", "BUCKET_SECRET_ACCESS_KEY": "test-secret-key"}
STORED = "A small object was stored"
READ = "A small object was read"
FETCHED = "A small object was fetched through its presigned URL"
DELETED = "A small object was deleted"


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server."""
    with s3_server() as url:
        yield url


@pytest.fixture
def check(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Check:
    """Checks the bucket of these settings. Gives the exit code and what is printed."""
    monkeypatch.setattr("worker.cli.check.bucket.take_settings", load_settings)

    def run(**settings: str) -> tuple[int, str]:
        for name, text in ({"BUCKET_NAME": "pictures"} | KEYS | settings).items():
            monkeypatch.setenv(name, text)
        code = check_bucket()
        printed = capsys.readouterr().out
        assert settings.get("BUCKET_SECRET_ACCESS_KEY", "test-secret-key") not in printed
        return code, printed

    return run


def test_a_bucket_that_can_be_used(command: Command, s3: str) -> None:
    before = stored(s3)
    answer = command("check", "--bucket", BUCKET_ENDPOINT_URL=s3, BUCKET_NAME="pictures", BUCKET_PREFIX="/a/", **KEYS)
    assert answer.returncode == 0, answer.stderr
    facts = dict(line.split(":", 1) for line in answer.stdout.splitlines()[:6] if line)
    assert {name: text.strip() for name, text in facts.items()} == {
        "Bucket": "pictures, in a service that is not known",
        "Endpoint": s3,
        "Region": "us-east-1 (a guess; BUCKET_REGION sets it)",
        "Addressing": f"path; URLs begin with {s3}/pictures/",
        "Key prefix": "a/",
    }
    assert answer.stdout.splitlines()[-5:] == [STORED, READ, FETCHED, DELETED, "The bucket can be used"]
    assert "test-secret-key" not in answer.stdout
    assert stored(s3) == before, "nothing is left behind"


def test_no_bucket_at_all(command: Command) -> None:
    answer = command("check", "--bucket")
    assert answer.returncode == 3
    assert answer.stderr == "worker: There is no bucket to check: BUCKET_ENDPOINT_URL is not set\n"


def test_settings_that_do_not_fit_together_stop_it(check: Check) -> None:
    with pytest.raises(StartError, match="names the bucket 'bkt', and BUCKET_NAME names 'pictures'"):
        check(BUCKET_ENDPOINT_URL="https://bkt.s3.eu-west-1.amazonaws.com")


def test_the_object_lies_where_files_lie(check: Check, s3: str) -> None:
    with FaultyS3(s3) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url, BUCKET_PREFIX="renders/2026")
    assert code == 0, printed
    assert [method for method, *_ in faulty.seen] == ["PUT", "GET", "GET", "DELETE"]
    for _, path, _ in faulty.seen:
        assert path.startswith("/pictures/renders/2026/worker-check-")


def test_a_bucket_in_a_service_that_is_known(check: Check, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.cli.check.bucket.try_bucket", lambda target: iter(()))
    monkeypatch.delenv("BUCKET_NAME", raising=False)
    address = "https://pictures.0a1b.eu.r2.cloudflarestorage.com/out"
    _, printed = check(BUCKET_ENDPOINT_URL=address)
    for line in (
        "Bucket:         pictures, in Cloudflare R2",
        "Endpoint:       https://0a1b.eu.r2.cloudflarestorage.com",
        "Region:         auto",
        "Addressing:     virtual; URLs begin with https://pictures.0a1b.eu.r2.cloudflarestorage.com/",
        "Key prefix:     out/",
    ):
        assert line in printed.splitlines()


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        (Refusal(403, "InvalidAccessKeyId"), "look at BUCKET_ACCESS_KEY_ID"),
        (Refusal(403, "SignatureDoesNotMatch"), "look at BUCKET_SECRET_ACCESS_KEY"),
        (Refusal(404, "NoSuchBucket"), "there is no such bucket: look at the bucket's name"),
        (
            Refusal(400, "AuthorizationHeaderMalformed", "<Region>eu-west-3</Region>"),
            "set BUCKET_REGION to the one that the service's console shows (eu-west-3, says the service)",
        ),
        (Refusal(403, "AccessDenied"), "give it s3:PutObject on the bucket's objects"),
        (Refusal(403, "SecondLevelDomainForbidden"), "set BUCKET_ADDRESSING=virtual"),
        (
            Refusal(403, "RequestTimeTooSkewed", headers={"Date": "Thu, 01 Jan 2026 00:00:00 GMT"}),
            "and the service's 2026-01-01 00:00 UTC",
        ),
        (Refusal(418, "Teapot", "<Message>I am\na teapot</Message>"), "was not stored: Teapot: I am a teapot\n"),
    ],
)
def test_why_nothing_can_be_stored(check: Check, s3: str, refusal: Refusal, told: str) -> None:
    with FaultyS3(s3, lambda method, _: refusal if method == "PUT" else None) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url)
    assert code == 1
    assert "A small object was not stored: " + refusal.code in printed
    assert told in printed
    assert READ not in printed
    assert printed.endswith("The bucket cannot be used\n")


def test_a_bucket_that_is_not_there(check: Check, s3: str) -> None:
    code, printed = check(BUCKET_ENDPOINT_URL=s3, BUCKET_NAME="pictures-2")
    assert code == 1
    assert "there is no such bucket" in printed


def test_a_server_that_is_not_there(check: Check) -> None:
    code, printed = check(BUCKET_ENDPOINT_URL=f"http://user:hunter2@127.0.0.1:{free_port()}")
    assert code == 1
    assert "nothing answers there: look at BUCKET_ENDPOINT_URL" in printed
    assert "hunter2" not in printed


def test_a_presigned_url_that_does_not_work(check: Check, s3: str) -> None:
    before = stored(s3)
    refusal = Refusal(400, "AuthorizationQueryParametersError", headers={"x-amz-bucket-region": "eu-west-3"})
    with FaultyS3(s3, lambda _, path: refusal if "X-Amz-Signature" in path else None) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url)
    assert code == 1
    assert "not fetched through its presigned URL: AuthorizationQueryParametersError" in printed
    assert "(eu-west-3, says the service)" in printed
    assert READ in printed
    assert DELETED in printed
    assert stored(s3) == before


def test_something_else_comes_back(check: Check, s3: str) -> None:
    other = Refusal(200, "SomethingElse")
    with FaultyS3(s3, lambda method, _: other if method == "GET" else None) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url)
    assert code == 1
    assert printed.count("bytes came back that are not those that were stored") == 2


def test_a_key_that_may_not_delete_is_enough(check: Check, s3: str) -> None:
    denied = Refusal(403, "AccessDenied")
    with FaultyS3(s3, lambda method, _: denied if method == "DELETE" else None) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url)
    assert code == 0, printed
    assert [line for line in printed.splitlines() if line.startswith("A small")] == [STORED, READ, FETCHED]
    assert "warning: it was not deleted: AccessDenied" in printed
    assert "give it s3:DeleteObject on the bucket's objects" in printed
    assert printed.endswith("The object stays in the bucket.\nThe bucket can be used\n")


def test_keys_that_are_wrong(check: Check, s3: str) -> None:
    """The server looks at signatures and permissions here: those of somebody who may do nothing."""
    iam = boto3.client("iam", endpoint_url=s3, region_name="us-east-1", **support.KEYS)
    iam.create_user(UserName="worker")
    key = iam.create_access_key(UserName="worker")["AccessKey"]
    keys = {"BUCKET_ACCESS_KEY_ID": key["AccessKeyId"], "BUCKET_SECRET_ACCESS_KEY": key["SecretAccessKey"]}
    before = requests.post(f"{s3}/moto-api/reset-auth", data="0", timeout=10).json()
    try:
        for change, code, told in (
            ({}, "AccessDenied", "give it s3:PutObject on the bucket's objects"),
            ({"BUCKET_SECRET_ACCESS_KEY": "another-secret"}, "SignatureDoesNotMatch", "BUCKET_SECRET_ACCESS_KEY"),
            ({"BUCKET_ACCESS_KEY_ID": "AKIANOBODY"}, "InvalidAccessKeyId", "look at BUCKET_ACCESS_KEY_ID"),
        ):
            status, printed = check(BUCKET_ENDPOINT_URL=s3, **(keys | change))
            assert status == 1
            assert f"was not stored: {code}" in printed
            assert told in printed
    finally:
        count = str(before["PREVIOUS_INITIAL_NO_AUTH_ACTION_COUNT"])
        requests.post(f"{s3}/moto-api/reset-auth", data=count, timeout=10)


def test_runpods_uploader_is_tried_as_it_is(check: Check, s3: str) -> None:
    month = time.strftime("%m-%y")
    support.client(s3).create_bucket(Bucket=month)
    with FaultyS3(s3) as faulty:
        code, printed = check(BUCKET_ENDPOINT_URL=faulty.url, BUCKET_UPLOADER="runpod")
    assert code == 0, printed
    assert "Bucket:         RunPod's SDK chooses it: the month, as MM-YY" in printed
    assert [method for method, *_ in faulty.seen] == ["PUT", "GET", "GET", "DELETE"]
    assert len({urlsplit(path).path for _, path, _ in faulty.seen}) == 1
    assert faulty.seen[0][1].startswith(f"/{month}/worker-check/")
