"""What files say that they need. It is what their authors wrote: nothing of it has been checked yet."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from worker.errors import InvalidJob


class UnreadableFile(InvalidJob):
    """A file says nothing that can be prepared. The text begins with its path."""


@dataclass(frozen=True)
class ModelNeed:
    """A model file that is needed.

    Attributes:
        name: its name in its folder, as workflows write it; there may be folders before it.
        directory: the kind of model, such as ``checkpoints``, with folders below it if there are any. None: not said.
        url: where it can be had. None: nobody says.
        sha256: in lower case; None if nobody says.
        where: who needs it, for a person.
        is_own: a build file says it, which is the operator's own, and no workflow.
    """

    name: str
    directory: str | None = None
    url: str | None = None
    sha256: str | None = None
    where: str = ""
    is_own: bool = False


@dataclass(frozen=True)
class PackNeed:
    """A node pack that is needed.

    Attributes:
        registry_id: its name in the Comfy Registry, or None.
        version: its version there, or None.
        repository: the URL of its git repository, or None.
        revision: a commit, a branch or a tag of it, or None.
        is_exact: whether no other version will do.
        where: who needs it, for a person.
    """

    registry_id: str | None = None
    version: str | None = None
    repository: str | None = None
    revision: str | None = None
    is_exact: bool = False
    where: str = ""

    @property
    def name(self) -> str:
        """How people call it."""
        repository = (self.repository or "").rstrip("/").removesuffix(".git").rpartition("/")[2]
        return self.registry_id or repository

    @property
    def wanted(self) -> str:
        """The version, in words; empty if any will do."""
        return self.version or self.revision or ""


@dataclass
class Needs:
    """Everything that files need.

    Attributes:
        comfyui: versions or revisions of ComfyUI that the files were made with.
        classes: node classes of which the files do not say which pack they belong to, with where they are.
        notes: what a person should know.
    """

    models: list[ModelNeed] = field(default_factory=list)
    packs: list[PackNeed] = field(default_factory=list)
    classes: dict[str, str] = field(default_factory=dict)
    comfyui: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def together(all_needs: Iterable[Needs]) -> Needs:
    """The needs of several files as one, each model and each pack once. What is exact wins."""
    models: dict[tuple[str | None, str], ModelNeed] = {}
    packs: dict[str, PackNeed] = {}
    whole = Needs()
    for needs in all_needs:
        for model in needs.models:
            key = (model.directory, model.name)
            kept_model = models.setdefault(key, model)
            if kept_model is not model:
                whole.notes += _disagreement(kept_model, model)
                models[key] = _merged(kept_model, model)
        for pack in needs.packs:
            kept = packs.get(pack.name.lower())
            if kept is None or (pack.is_exact and not kept.is_exact) or (pack.wanted and not kept.wanted):
                packs[pack.name.lower()] = pack
        for name, where in needs.classes.items():
            whole.classes.setdefault(name, where)
        whole.comfyui += [version for version in needs.comfyui if version not in whole.comfyui]
        whole.notes += needs.notes
    known = {_plain(name) for directory, name in models if directory is not None}
    whole.models = [
        model for (directory, name), model in models.items() if directory is not None or _plain(name) not in known
    ]
    whole.packs = list(packs.values())
    return whole


def as_numbers(version: str | None) -> tuple[int, ...]:
    """``version`` as numbers that can be compared, such as (1, 0, 8); empty if it is a commit or a name."""
    found = re.fullmatch(r"v?(\d{1,6}(?:\.\d{1,6}){1,3})(?:[-+.]?[a-z].*)?", version or "")
    return tuple(map(int, found[1].split("."))) if found else ()


def _disagreement(one: ModelNeed, other: ModelNeed) -> list[str]:
    both = (one.url, other.url), (one.sha256, other.sha256)
    if all(None in pair or pair[0] == pair[1] for pair in both):
        return []
    return [f"{one.name}: {one.where} and {other.where} mean different files; the first one is taken"]


def _merged(one: ModelNeed, other: ModelNeed) -> ModelNeed:
    return replace(
        one,
        url=one.url or other.url,
        sha256=one.sha256 or other.sha256,
        is_own=one.is_own or other.is_own,
        where=one.where if other.where in one.where else f"{one.where}; {other.where}",
    )


def _plain(name: str) -> str:
    return name.replace("\\", "/")
