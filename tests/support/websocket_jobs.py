"""Jobs on a ComfyUI server, and what another client sees of that server."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import requests

from worker import Settings, Worker
from worker.events import Event


@contextlib.contextmanager
def client_of(settings: Settings, host: str, **changes: Any) -> Iterator[Worker]:
    """A worker that is a client of the server at ``host``, and loses no time."""
    quick = {"websocket_reconnect_attempts": 3, "websocket_reconnect_delay_s": 0.2}
    update = {"comfy_backend": "websocket", "comfy_host": host, **quick, **changes}
    with Worker(settings.model_copy(update=update)) as worker:
        yield worker


def ask(host: str, path: str, body: Any = None) -> Any:
    """An answer of the server, as another client gets it."""
    response = requests.request("GET" if body is None else "POST", f"http://{host}{path}", json=body, timeout=10)
    response.raise_for_status()
    return response.json() if response.content else None


def queue_for_another(host: str, graph: dict[str, Any]) -> str:
    """Queue a graph as another client does; its prompt id."""
    answer = ask(host, "/prompt", {"prompt": graph, "client_id": "another", "prompt_id": str(uuid.uuid4())})
    return str(answer["prompt_id"])


def wait_for(condition: Callable[[], Any], seconds: float = 20) -> Any:
    """What ``condition`` gives, once that is something."""
    give_up = time.monotonic() + seconds
    while time.monotonic() < give_up:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not happen")


def stop(worker: Worker) -> None:
    """Interrupt the job that runs."""
    assert worker._backend is not None
    worker._backend.interrupt(worker._backend._turns.current.run)  # type: ignore[attr-defined]


class Running:
    """A job on a thread of its own."""

    def __init__(self, worker: Worker, graph: dict[str, Any], images: Any = None) -> None:
        self.events: list[Event] = []
        self.result: Any = None
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(worker, graph, images), daemon=True)
        self._thread.start()

    def _run(self, worker: Worker, graph: dict[str, Any], images: Any) -> None:
        try:
            self.result = worker.run(graph, images, on_event=self.events.append)
        except BaseException as error:  # noqa: BLE001 - looked at by the test.
            self.error = error

    def has(self, kind: type[Event]) -> bool:
        """Whether an event of this kind was told."""
        return any(isinstance(event, kind) for event in self.events)

    def wait(self, seconds: float = 30) -> Any:
        """The result; raises what the job raised."""
        self._thread.join(seconds)
        assert not self._thread.is_alive(), "it hangs"
        if self.error is not None:
            raise self.error
        return self.result
