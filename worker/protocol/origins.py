"""Says where what is missing can be had, in the words of the caller: models' addresses, and the packs of nodes.

Only what the editor or the request has written is repeated here. Nothing is fetched or installed.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worker.errors import FetchFailed
from worker.fetch.address import checked_address, without_secrets

NOT_INSTALLED = "this node class is not installed"
_CORE = "comfy-core"
_NO_VERSIONS = ("unknown", "latest", "nightly", "")
_COMMIT = re.compile(r"[0-9a-fA-F]{7,40}")
_GITHUB = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,99}/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+_-]{0,99}")
_DIRECTORY = re.compile(r"[\w./ -]{1,100}")
_LONGEST_URL = 400
_MOST_NODES = 20_000


@dataclass(frozen=True)
class NamedPack:
    """The pack that a node names as its own.

    ``registry_id``, ``version``: in the Comfy Registry. ``repository``: a URL. ``revision``: a commit. None: not said.
    """

    registry_id: str | None
    version: str | None
    repository: str | None
    revision: str | None

    @property
    def install_text(self) -> str:
        """How ``scripts/install-nodes`` is told to get it."""
        name, version = (self.repository, self.revision) if self.repository else (self.registry_id or "", self.version)
        return f"{name}@{version}" if version else str(name)


def named_pack(properties: Mapping[str, Any]) -> NamedPack | None:
    """The pack that a node's ``properties`` name with ``cnr_id``, ``aux_id`` and ``ver``; None if it is ComfyUI."""
    registry_id, github, version = (
        value if isinstance(value := properties.get(key), str) else "" for key in ("cnr_id", "aux_id", "ver")
    )
    version = "" if version in _NO_VERSIONS or not _VERSION.fullmatch(version) else version
    is_commit = _COMMIT.fullmatch(version) is not None
    has_id = registry_id != _CORE and _NAME.fullmatch(registry_id) is not None
    github = github.removesuffix(".git")
    if _GITHUB.fullmatch(github):
        repository = f"https://github.com/{github}"
        return NamedPack(registry_id if has_id else None, None, repository, version if is_commit else None)
    if has_id:
        return NamedPack(registry_id, None if is_commit else version or None, None, version if is_commit else None)
    return None


def pack_text(properties: Mapping[str, Any]) -> str | None:
    """Which pack a node says that it is of, for a message; None if it says nothing."""
    pack = named_pack(properties)
    if pack is None:
        return None
    name = pack.registry_id or pack.repository
    return f"the workflow says that it is of the node pack {name} (scripts/install-nodes {pack.install_text})"


def with_pack(reason: str, said: str | None) -> str:
    """``reason`` why a class is missing, with what the workflow has ``said`` about its pack."""
    return f"{NOT_INSTALLED}: {said}" if said and reason.startswith(NOT_INSTALLED) else reason


class Origins:
    """What a workflow of the editor says about its models and packs, and a request about models. It is read when it is
    first asked for.

    ``workflow``: as a caller sent it, with or without a graph that was made of it. None: nothing is said. ``offered``:
    the models of the request, each with its ``name``, ``url`` and ``directory``.
    """

    def __init__(self, workflow: Any = None, offered: Sequence[Mapping[str, Any]] = ()) -> None:
        self._workflow, self._offered = workflow, offered

    def of_class(self, class_type: str) -> str | None:
        """Which pack the nodes of this class say that they are of, for a message."""
        nodes = (node for node in self._nodes if node.get("type") == class_type)
        return next((text for node in nodes if (text := pack_text(_mapping(node.get("properties"))))), None)

    def of_model(self, name: Any) -> str | None:
        """Where the model that a node calls ``name`` can be had, for a message."""
        return self._models.get(_last(name)) if isinstance(name, str) else None

    @functools.cached_property
    def _nodes(self) -> list[Mapping[str, Any]]:
        found: list[Mapping[str, Any]] = []
        waiting: list[Any] = [self._workflow]
        while waiting and len(found) < _MOST_NODES:
            graph = _mapping(waiting.pop())
            found += [node for node in _list(graph.get("nodes")) if isinstance(node, Mapping)]
            waiting += _list(_mapping(graph.get("definitions")).get("subgraphs"))
        return found

    @functools.cached_property
    def _models(self) -> dict[str, str]:
        entries = [*_list(_mapping(self._workflow).get("models"))]
        for node in self._nodes:
            entries += _list(_mapping(node.get("properties")).get("models"))
        return {**dict(_model_texts(entries, "workflow")), **dict(_model_texts(self._offered, "request"))}


def _model_texts(entries: Sequence[Any], source: str) -> Iterator[tuple[str, str]]:
    for entry in entries:
        name, url, directory = (_mapping(entry).get(key) for key in ("name", "url", "directory"))
        if not isinstance(name, str) or not isinstance(url, str) or len(url) > _LONGEST_URL:
            continue
        try:
            shown = without_secrets(checked_address(url))
        except FetchFailed:
            continue
        into = f" for models/{directory}" if isinstance(directory, str) and _DIRECTORY.fullmatch(directory) else ""
        yield _last(name), f"the {source} says that it is at {shown}{into}"


def _last(name: str) -> str:
    return name.replace("\\", "/").rpartition("/")[2].lower()


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
