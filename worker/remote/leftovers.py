"""What jobs leave on a server: prompts that nobody waits for any more, and entries in its history."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

from worker.remote.api import ComfyApi, ServerRefused, ServerUnreachable

_log = logging.getLogger("worker")


class Leftovers:
    """Collected as jobs go, removed between them; what cannot be removed now is tried again. One thread."""

    def __init__(self, api: ComfyApi) -> None:
        self._api = api
        self._ended: list[str] = []
        self._stray: dict[str, Future[Any] | None] = {}
        self._clients: set[str] = set()

    @property
    def may_run(self) -> bool:
        """Whether there is something that could hold up the next job."""
        return bool(self._stray or self._clients)

    def ended(self, prompt_id: str) -> None:
        """A prompt has ended; the history holds it."""
        self._stray.pop(prompt_id, None)
        self._ended.append(prompt_id)

    def stray(self, prompt_id: str, posting: Future[Any] | None = None) -> None:
        """A prompt may run, unless ``ended`` or ``refused`` says otherwise. ``posting``: while it is on its way."""
        self._stray[prompt_id] = posting

    def refused(self, prompt_id: str) -> None:
        """A prompt was not accepted."""
        self._stray.pop(prompt_id, None)

    def client(self, client_id: str) -> None:
        """Nobody hears any more what was queued for this client."""
        self._clients.add(client_id)

    def remove(self) -> None:
        """Stop what may still run, and have the history forget all of it. Raises nothing."""
        if not (self._ended or self.may_run):
            return
        try:
            queue = self._api.queue(again=False) if self._clients else None
            for client_id in self._clients:
                for prompt_id in queue.of_client(client_id) if queue else ():
                    self._stray.setdefault(prompt_id, None)
            for prompt_id in self._stray:
                self._api.stop(prompt_id)
            self._api.forget([*self._ended, *self._stray])
        except (ServerUnreachable, ServerRefused) as error:
            _log.warning("What a job has left on the ComfyUI server could not be removed yet: %s", error)
            return
        self._ended.clear()
        self._clients.clear()
        # One that is still on its way there may begin later.
        self._stray = {each: posting for each, posting in self._stray.items() if posting and not posting.done()}
