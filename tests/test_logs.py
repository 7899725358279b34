"""What the log holds, and what it never holds."""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import PIL
import pytest

from worker.logs import job_lines, one_line, set_up_logging
from worker.settings import Settings, load_settings


@pytest.fixture
def log(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Sets logging up as a server does, runs a function, and gives the lines that were written."""
    monkeypatch.setenv("COMFY_ORG_API_KEY", "operators-key")
    monkeypatch.delenv("COMFY_LOG_LEVEL", raising=False)
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level

    def lines(act: Callable[[], object], *, as_json: bool = True, settings: Settings | None = None) -> list[str]:
        capsys.readouterr()
        set_up_logging(settings or load_settings(), as_json=as_json)
        act()
        out, err = capsys.readouterr()
        assert not (err if as_json else out)
        return (out or err).splitlines()

    yield lines
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def test_a_line_is_json_with_the_keys_of_runpods_sdk(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        with job_lines("job-1"):
            logging.getLogger().info("two\nlines of %s", "text")
        logging.getLogger("worker").info("done", extra={"fields": {"outcome": "completed"}})

    first, second = map(json.loads, log(act))
    assert first.pop("time")
    assert first == {"level": "INFO", "requestId": "job-1", "logger": "root", "message": "two\nlines of text"}
    assert (second["message"], second["outcome"], "requestId" in second) == ("done", "completed", False)


def test_a_traceback_is_one_line_as_well(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        try:
            raise ValueError("with operators-key")
        except ValueError:
            logging.getLogger("worker").exception("it failed")

    (line,) = map(json.loads, log(act))
    assert "ValueError: with ********" in line["traceback"]


def test_secrets_and_files_stay_out(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        with job_lines("job-1", ["callers-key", None, ""]):
            logging.getLogger().info("keys operators-key and callers-key, file %s", "iVBOR" * 100)

    for as_json in (True, False):
        (line,) = log(act, as_json=as_json)
        assert "keys ******** and ********, file <500 characters of base64>" in line


def test_files_in_lines_and_in_urls_stay_out(log: Callable[..., list[str]]) -> None:
    data = bytes(range(256)) * 40

    def act() -> None:
        for text in (base64.encodebytes(data).decode(), repr(base64.encodebytes(data)), base64.urlsafe_b64encode(data)):
            logging.getLogger().info("got %s", text)

    for line in log(act):
        assert len(line) < 400, line
        assert "characters of base64>" in line


def test_a_line_that_does_not_fit_its_arguments(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        with job_lines("job-1", ["callers-key"]):
            logging.getLogger().info("key %d of callers-key", "callers-key")

    (line,) = map(json.loads, log(act))
    assert line["message"] == "key %d of ******** (arguments that do not fit)"


def test_threads_of_nodes_show_no_secret_either(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        def work() -> None:
            logging.getLogger().info("with callers-key-and-more and callers-key")
            raise ValueError("callers-key")

        with job_lines("job-1", ["callers-key", "callers-key-and-more"]):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()

    hook = threading.excepthook
    lines = log(act)
    threading.excepthook = hook
    assert json.loads(lines[0])["message"] == "with ******** and ********"
    assert "ValueError: ********" in json.loads(lines[1])["traceback"]
    assert "callers-key" not in "".join(lines)


def test_an_endless_line_is_cut(log: Callable[..., list[str]]) -> None:
    (line,) = map(json.loads, log(lambda: logging.getLogger().info("long line " * 100_000)))
    assert len(line["message"]) < 20_000
    assert line["message"].endswith("(1000000 characters)")


@pytest.mark.parametrize(
    "text", [("A" * 199 + " " * 5000 + "!") * 80, "A" * 60 + " " * 400_000, ("A" * 199 + "\\n" * 2000) * 80]
)
def test_no_text_keeps_the_log_busy(log: Callable[..., list[str]], text: str) -> None:
    start = time.monotonic()
    log(lambda: logging.getLogger().info(text))
    assert time.monotonic() - start < 1.0


def test_a_secret_is_found_in_other_forms(log: Callable[..., list[str]]) -> None:
    key = "Kä/y+\"one\\'two"

    def act() -> None:
        with job_lines("job-1", [key]):
            for text in (
                key,
                repr({"k": key}),
                json.dumps({"k": key}),
                quote(key, safe=""),
                repr(key + "'"),
            ):
                logging.getLogger().info("got %s", text)

    for line in map(json.loads, log(act)):
        assert "********" in line["message"]
        assert "two" not in line["message"]


def test_a_caller_s_short_key_does_not_make_lines_unreadable(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        with job_lines("job-1", ["e", "\n"]):
            logging.getLogger().info("every letter stays")

    assert json.loads(log(act)[0])["message"] == "every letter stays"


def test_libraries_are_heard_from_warning_on(log: Callable[..., list[str]]) -> None:
    def says(path: str, name: str, level: int) -> None:
        logger = logging.getLogger(name)
        logger.handle(logger.makeRecord(name, level, path, 1, f"{name} {level}", (), None))

    def act() -> None:
        library = str(Path(PIL.__file__).parent / "Image.py")
        for level in (logging.DEBUG, logging.INFO, logging.WARNING):
            says(library, "some.library", level)
            says(logging.__file__, "root", level)
            says("/base/custom_nodes/pack/nodes.py", "pack", level)
        says(library, "worker", logging.INFO)

    assert [json.loads(line)["message"] for line in log(act)] == [
        "pack 10", "pack 20", "some.library 30", "root 30", "pack 30", "worker 20",
    ]  # fmt: skip


def test_comfyuis_level_does_not_silence_the_worker(log: Callable[..., list[str]]) -> None:
    settings = load_settings().model_copy(update={"comfy_log_level": "ERROR"})

    def act() -> None:
        logging.getLogger().warning("of ComfyUI")
        logging.getLogger("worker").info("of the worker")

    assert log(act, as_json=False, settings=settings) == ["INFO of the worker"]


def test_a_callers_id_stays_on_one_line(log: Callable[..., list[str]]) -> None:
    def act() -> None:
        with job_lines("evil\nINFO forged"):
            logging.getLogger().info("text")

    assert log(act, as_json=False) == ["[evil\\nINFO forged] INFO text"]
    with job_lines("x" * 1_000_000):
        (line,) = map(json.loads, log(lambda: logging.getLogger().info("text")))
    assert line["requestId"] == "x" * 200
    assert one_line("x" * 500) == "x" * 100 + "…"
