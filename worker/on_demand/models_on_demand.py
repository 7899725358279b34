"""``ModelsOnDemand``: brings the models that a job offers and the worker lacks, before the job has its turn."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Protocol

from worker.errors import FetchFailed, JobInterrupted, ModelsNotFetched, StartError
from worker.events import Listener
from worker.fetch.address import CIVITAI_HOST, HF_HOST, Tokens
from worker.fetch.connections import Connections
from worker.fetch.model_names import BadName, check_ending
from worker.fetch.records import read_record
from worker.job.job import Job
from worker.models.fetched import NO_MODELS, FetchedModel, FetchedModels, own_name
from worker.models.references import Catalog, workflow_models
from worker.on_demand.fetching import Fetching, Wish
from worker.on_demand.lacking import Lacking, lacking, named_by, offers_of, shown, with_own_names
from worker.on_demand.sources import Sources
from worker.on_demand.store import Store
from worker.receipt.current import current, enter
from worker.settings import Settings

_READ_S = 20.0  # A stopped job's connection may wait so long for its server.
_SWITCH = "this worker fetches none (MODEL_PICKLES)"


class Installed(Catalog, Protocol):
    """What the running ComfyUI has."""

    def has_node_class(self, class_type: str) -> bool: ...

    def runs_as(self, class_type: str) -> str: ...


class ModelsOnDemand:
    """Brings models, if ``MODEL_SOURCES`` says from where. Any thread may use it.

    Raises:
        StartError: the models would have to be on another machine.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.is_on = bool(settings.model_sources)
        if self.is_on and settings.comfy_backend == "websocket":
            raise StartError(
                "MODEL_SOURCES brings models to this machine, and with COMFY_BACKEND=websocket they are needed on the "
                "server's: leave one of them out"
            )
        self._sources = Sources(settings.model_sources)
        self._store = Store(cache_folder(settings), int(settings.model_cache_gb * 1e9)) if self.is_on else None
        given = {HF_HOST: settings.hf_token, CIVITAI_HOST: settings.civitai_token}
        tokens = {host: token.get_secret_value().strip() for host, token in given.items() if token is not None}
        self._tokens = Tokens(tokens, self._sources.has)

    def begin(self, shown: Callable[[], object]) -> None:
        """ComfyUI runs now. If jobs may bring models, call ``shown``, which lets it look for them."""
        if self.is_on:
            shown()

    def concerns(self, job: Job) -> bool:
        """Whether the job may have to wait for models."""
        return self.is_on and bool(job.models or job.extra_pnginfo or not job.is_ready)

    def bring(
        self, job: Job, installed: Installed | None, on_event: Listener | None, stopped: threading.Event | None
    ) -> tuple[Job, FetchedModels]:
        """Fetch what ``job``, which has its graph, lacks and offers.

        Args:
            job: a job that may run.
            installed: the running ComfyUI.
            on_event: hears of progress, on this thread.
            stopped: set it to stop.

        Returns: the job with the names that its files have in its graph, and the files.

        Raises:
            ModelsNotFetched: some cannot be had, or must not be.
            JobInterrupted: it was stopped.
        """
        if self._store is None or installed is None:
            return job, NO_MODELS
        offers = list(offers_of(job))
        classes = {node["class_type"] for node in job.workflow.values()}
        if not offers or not all(installed.has_node_class(installed.runs_as(name)) for name in classes):
            return job, NO_MODELS  # A job that cannot run is refused without a download.
        enter("fetching")
        job = replace(job, warnings=(*job.warnings, *_remarks(job, installed)))
        usable = [offer for offer, is_request in offers if is_request or self._may_fetch(offer.url)]
        needed = lacking(job.workflow, usable, installed)
        wishes = self._wishes(needed)
        if not needed:
            return job, NO_MODELS
        return self._brought(job, list(zip(needed, wishes, strict=True)), on_event, stopped or threading.Event())

    def _may_fetch(self, url: str) -> bool:
        with contextlib.suppress(FetchFailed):
            return bool(self._sources.address(url))
        return False

    def _wishes(self, needed: Sequence[Lacking]) -> list[Wish]:
        """What is fetched for each file.

        Raises:
            ModelsNotFetched: one of them must not be fetched.
        """
        wishes, problems = [], []
        for each in needed:
            try:
                wishes.append(self._wish(each))
            except (BadName, FetchFailed) as error:
                problems.append(f"{shown(each.offer)}: {error}")
        if problems:
            raise ModelsNotFetched(list(dict.fromkeys(problems)))
        return wishes

    def _wish(self, each: Lacking) -> Wish:
        check_ending(each.name, pickles=self._settings.model_pickles == "allow", switch=_SWITCH)
        name = PurePosixPath(each.name)
        if not each.folder.lists(Path(each.name)):
            raise BadName(f"{each.folder.name} takes {', '.join(sorted(each.folder.extensions))}")
        url = self._sources.address(each.offer.url)
        return Wish(shown(each.offer), url, name.suffix.lower(), each.offer.sha256)

    def _brought(
        self, job: Job, needed: list[tuple[Lacking, Wish]], on_event: Listener | None, stopped: threading.Event
    ) -> tuple[Job, FetchedModels]:
        assert self._store is not None  # noqa: S101 - for the type checker; ``bring`` has looked.
        store, by_key = self._store, {wish.key: wish for _, wish in needed}
        connections = Connections(self._tokens, read_s=_READ_S, proxies=False)
        store.end_idle_leases()
        fetching = Fetching(store, connections, self._settings.model_fetch_timeout_s)
        found = fetching.bring(list(by_key.values()), on_event, stopped)

        def release() -> None:
            for key, kept in found.items():
                store.unused(key, kept.lease)

        count = sum(wish.size for wish in by_key.values() if not wish.was_there)
        kept_files = [(each, found[wish.key]) for each, wish in needed]
        files = {(each.folder.name, own_name(kept.name_key, each.name)): kept.path for each, kept in kept_files}
        models = FetchedModels([FetchedModel(*names, path) for names, path in files.items()], release, count)
        if stopped.is_set():
            models.release()
            raise JobInterrupted
        if (receipt := current()) is not None:
            receipt.counts.fetched_bytes += count
        graph = with_own_names(job.workflow, [(each, kept.name_key) for each, kept in kept_files])
        return replace(job, workflow=graph), models


def cache_folder(settings: Settings) -> Path:
    """Where fetched models are kept."""
    if settings.model_cache_dir is not None:
        return settings.model_cache_dir
    volume = settings.network_volume_path
    with contextlib.suppress(OSError):  # A mount may not answer.
        if volume.is_dir():
            return volume / ".cache" / "comfy-worker" / "models"
    return Path("~/.cache/comfy-worker/models").expanduser()


def _remarks(job: Job, installed: Installed) -> list[str]:
    """What a caller has probably not meant by the models of the request."""
    lines = []
    references = workflow_models(job.workflow, installed) if job.models else []
    for offer in job.models:
        if not named_by(job.workflow, offer, installed):
            lines.append(f"'models': no node of the workflow names {shown(offer)}, so it was not fetched")
        for reference in references:
            record = read_record(reference.path) if reference.path and offer.sha256 else None
            is_same_name = reference.name.replace("\\", "/").rpartition("/")[2] == offer.name.rpartition("/")[2]
            if is_same_name and record is not None and record.sha256 not in (None, offer.sha256):
                lines.append(f"'models': {shown(offer)} is installed on this worker with another SHA-256, and was used")
    return lines
