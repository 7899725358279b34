"""Compares what is needed with what is there: which models and packs are there, can be had, or are nowhere."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

from worker.environment.needs import ModelNeed, PackNeed
from worker.environment.packs import InstalledPack, NoPack, install_text
from worker.environment.places import NoPlace, Places
from worker.errors import FetchFailed
from worker.fetch.address import checked_address, file_address, without_secrets
from worker.fetch.connections import Connections
from worker.fetch.download import FetchStopped, Watch
from worker.fetch.records import Record, hash_of, read_record, remember
from worker.fetch.remote import RemoteFile, ask
from worker.fetch.several import unwaited_pool
from worker.models.damage import damage, size_text

_AT_ONCE = 8


class State(StrEnum):
    """Where something that is needed is."""

    THERE = "there"
    MISSING = "missing"  # It can be had.
    UNKNOWN = "unknown"  # It is missing, and nobody says where to get it.
    FAILED = "failed"  # It is missing, and cannot be had or must not be.
    DIFFERENT = "different"  # Something else of its name is there.


@dataclass(frozen=True)
class PlannedModel:
    """A model file that is needed.

    Attributes:
        path: where it is, or where it would be put; None if that is not known.
        remote: what its server says; None if it was not asked.
        record: what is known of the file that is there.
        remark: what is wrong, or worth knowing; empty if nothing is.
    """

    need: ModelNeed
    state: State
    path: Path | None = None
    remote: RemoteFile | None = None
    record: Record | None = None
    remark: str = ""

    @property
    def size(self) -> int | None:
        """In bytes: of the file that is there, or of the one that would be fetched; None if that is not known."""
        if self.record is not None:
            return self.record.size
        return self.remote.size if self.remote else None

    @property
    def sha256(self) -> str | None:
        """What is known of it, from whoever needs it, its server, or the file, if that is the right one."""
        here = self.record.sha256 if self.record and self.state is State.THERE else None
        known = (self.need.sha256, self.remote and self.remote.sha256, here)
        return next((sha256 for sha256 in known if sha256), None)


@dataclass(frozen=True)
class PlannedPack:
    """A node pack that is needed. ``installed``: what is there of it. ``remark``: as above."""

    need: PackNeed
    state: State
    installed: InstalledPack | None = None
    remark: str = ""


@dataclass(frozen=True)
class Looking:
    """How to look.

    Attributes:
        connections: they say which hosts may be asked.
        places: where models are.
        on_bytes: called with the bytes of a file that were read to find its SHA-256.
        stop: set it to stop.
        anew: whether to read files again whose SHA-256 is remembered.
        exact: whether the SHA-256 of each file that is there, and its exact revision, must be found.
    """

    connections: Connections
    places: Places
    on_bytes: Callable[[int], None]
    stop: threading.Event
    anew: bool = False
    exact: bool = False


def plan_models(needs: Sequence[ModelNeed], looking: Looking) -> list[PlannedModel]:
    """Look for each model here, and ask the servers about those that are missing, several at once.

    Raises:
        FetchStopped: it was stopped.
    """
    with unwaited_pool(_AT_ONCE, looking.stop) as pool:
        return list(pool.map(lambda need: _plan(need, looking), needs))


def plan_packs(needs: Sequence[PackNeed], installed: Sequence[InstalledPack]) -> list[PlannedPack]:
    """Look for each pack here."""
    return [_plan_pack(need, next((pack for pack in installed if pack.has(need)), None)) for need in needs]


def _plan(need: ModelNeed, looking: Looking) -> PlannedModel:
    if looking.stop.is_set():
        raise FetchStopped
    found = looking.places.find(need.directory, need.name)
    try:
        if found is not None:
            return _there(need, found, looking)
        return _missing(need, looking)
    except OSError as error:
        return PlannedModel(need, State.FAILED, found, remark=f"it cannot be read ({error.strerror})")


def _there(need: ModelNeed, path: Path, looking: Looking) -> PlannedModel:
    if problem := damage(path):
        return PlannedModel(need, State.DIFFERENT, path, remark=f"{problem}: remove it, and run this again")
    record = None if looking.anew else read_record(path)
    remote, remark = None, ""
    if need.url and (looking.exact or (record is None and not need.sha256)):
        try:
            remote = ask(looking.connections, _address(need.url), _pause(looking))
        except FetchFailed as error:
            remark = f"not compared with its source: {error}"
    expected = need.sha256 or (remote.sha256 if remote and (looking.anew or looking.exact) else None)
    if record is None or (record.sha256 is None and (expected or looking.exact)):
        record = _recorded(path, need, looking, with_hash=bool(expected or looking.exact or looking.anew))
    planned = PlannedModel(need, State.THERE, path, remote, record, remark)
    if expected and record.sha256 != expected:
        text = f"its SHA-256 is {record.sha256}, and should be {expected}"
    elif remote and remote.size is not None and remote.size != record.size:
        text = f"it has {size_text(record.size)}, and its source {size_text(remote.size)}"
    else:
        return planned
    return replace(planned, state=State.DIFFERENT, remark=f"another file has this name and stays: {text}")


def _recorded(path: Path, need: ModelNeed, looking: Looking, *, with_hash: bool) -> Record:
    sha256 = hash_of(path, Watch(looking.on_bytes, looking.stop).moved) if with_hash else None
    return remember(path, sha256, without_secrets(need.url or ""))


def _missing(need: ModelNeed, looking: Looking) -> PlannedModel:
    if need.url is None:
        return PlannedModel(need, State.UNKNOWN, remark="nobody says where to get it")
    target = None
    try:
        target = looking.places.target(need.directory, need.name, is_own=need.is_own)
        remote = ask(looking.connections, _address(need.url), _pause(looking))
    except (NoPlace, FetchFailed) as error:
        return PlannedModel(need, State.FAILED, target, remark=str(error))
    planned = PlannedModel(need, State.MISSING, target, remote)
    if need.sha256 and remote.sha256 and need.sha256 != remote.sha256:
        text = f"its source has another file: SHA-256 {remote.sha256}, and it should be {need.sha256}"
        return replace(planned, state=State.FAILED, remark=text)
    return planned


def _address(url: str) -> str:
    return file_address(checked_address(url))


def _pause(looking: Looking) -> Callable[[float], None]:
    return Watch(lambda _: None, looking.stop).wait


def _plan_pack(need: PackNeed, pack: InstalledPack | None) -> PlannedPack:
    try:
        install_text(need)
    except NoPack as error:
        return PlannedPack(need, State.THERE if pack else State.FAILED, pack, str(error))
    if pack is None:
        if need.revision and not need.repository:
            return PlannedPack(need, State.MISSING, remark=f"made with commit {need.revision[:12]}")
        return PlannedPack(need, State.MISSING)
    if pack.is_as(need):
        return PlannedPack(need, State.THERE, pack)
    text = f"{pack.shown} is there, and the file was made with {need.wanted[:40]}"
    return PlannedPack(need, State.DIFFERENT if need.is_exact else State.THERE, pack, text)
