"""Removes what jobs leave on a server: prompts that may still run, and entries in its history."""

from __future__ import annotations

import logging
from concurrent.futures import Future
from typing import Any

from worker.remote.api import ComfyApi
from worker.remote.http import ServerRefused, ServerUnreachable

_log = logging.getLogger("worker")


class Leftovers:
    """Notes what jobs leave, and removes it between jobs. If that fails, it tries again later.

    Only the thread that runs jobs may use it.
    """

    def __init__(self, api: ComfyApi) -> None:
        self._api = api
        self._ended: list[str] = []
        self._stray: dict[str, Future[Any] | None] = {}
        self._clients: set[str] = set()

    @property
    def has_strays(self) -> bool:
        """Whether prompts may still run. They would delay the next job."""
        return bool(self._stray or self._clients)

    def note_ended(self, prompt_id: str) -> None:
        """Note that a prompt has ended. The history has an entry for it."""
        self._stray.pop(prompt_id, None)
        self._ended.append(prompt_id)

    def note_stray(self, prompt_id: str, posting: Future[Any] | None = None) -> None:
        """Note that a prompt may run, until ``note_ended`` or ``note_refused``. ``posting``: the request for it."""
        self._stray[prompt_id] = posting

    def note_refused(self, prompt_id: str) -> None:
        """Note that a prompt was not accepted."""
        self._stray.pop(prompt_id, None)

    def note_client(self, client_id: str) -> None:
        """Note that prompts of this client may still run, although no job waits for them."""
        self._clients.add(client_id)

    def remove(self) -> None:
        """Stop the prompts that may still run, and remove all noted prompts from the history. Raises nothing."""
        if not (self._ended or self.has_strays):
            return
        try:
            queue = self._api.queue(retry=False) if self._clients else None
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
        # A prompt whose request is still on its way may begin later.
        self._stray = {each: posting for each, posting in self._stray.items() if posting and not posting.done()}
