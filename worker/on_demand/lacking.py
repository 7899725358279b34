"""Compares what a workflow names with what its job offers: which files are missing and are offered."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from worker.engine.graph_run import own_graph
from worker.environment.workflow_file import workflow_needs
from worker.errors import FetchFailed
from worker.fetch.address import checked_address
from worker.fetch.model_names import BadName, name_parts
from worker.job.job import Job, OfferedModel, Workflow
from worker.models.fetched import callers_names, own_name
from worker.models.references import Catalog, ModelFolder, ModelReference, workflow_models
from worker.protocol.spelling import usual_name

_EMBEDDINGS = "embeddings"


@dataclass(frozen=True)
class Lacking:
    """A missing file that is offered.

    ``reference``: where the workflow names it. ``folder``: the model folder in which its node looks for it. ``name``:
    what the caller calls it there.
    """

    reference: ModelReference
    folder: ModelFolder
    name: str
    offer: OfferedModel


def offers_of(job: Job) -> Iterator[tuple[OfferedModel, bool]]:
    """The models that a job offers, and whether the request itself does; otherwise its workflow of the editor does.

    A workflow's list is what its author wrote, so that what cannot be used of it is left out.
    """
    for offer in job.models:
        yield offer, True
    workflow = (job.extra_pnginfo or {}).get("workflow")
    if not isinstance(workflow, Mapping):
        return
    for need in workflow_needs(workflow, "").models:
        if need.url and need.directory:
            try:
                name, directory = "/".join(name_parts(need.name)), "/".join(name_parts(need.directory))
                yield OfferedModel(name, directory, checked_address(need.url), need.sha256), False
            except (BadName, FetchFailed):
                continue


def lacking(workflow: Workflow, offers: Sequence[OfferedModel], catalog: Catalog) -> list[Lacking]:
    """The missing files that ``workflow`` names and ``offers`` has, in the order of its nodes."""
    folders = {folder.name: folder for folder in catalog.model_folders()}
    found = []
    for reference in workflow_models(workflow, catalog):
        if reference.path is not None:
            continue
        for offer in offers:
            folder = _folder(reference, offer, folders)
            if folder is not None and _is_named(reference, offer):
                found.append(Lacking(reference, folder, _callers_name(reference, offer), offer))
                break
    return found


def named_by(workflow: Workflow, offer: OfferedModel, catalog: Catalog) -> bool:
    """Whether ``workflow`` names the file that is offered, whether it is there or not."""
    return any(_is_named(reference, offer) for reference in workflow_models(workflow, catalog))


def with_own_names(workflow: Workflow, found: Sequence[tuple[Lacking, str]]) -> Workflow:
    """``workflow`` with the names that its fetched files have for this job. ``found``: each with its key."""
    graph = own_graph(workflow)
    for each, key in found:
        inputs, reference = graph[each.reference.node_id]["inputs"], each.reference
        own = own_name(key, each.name)
        value = inputs[reference.input_name]
        if each.folder.name == _EMBEDDINGS and value != reference.name:  # It stands in a prompt.
            pattern = rf"(\bembedding:){re.escape(reference.name)}(?![^\s,;:()\[\]])"
            inputs[reference.input_name] = re.sub(pattern, lambda match, own=own: match[1] + own, value)  # type: ignore[misc]
        else:
            inputs[reference.input_name] = own
    return graph


def _folder(reference: ModelReference, offer: OfferedModel, folders: Mapping[str, ModelFolder]) -> ModelFolder | None:
    """The folder in which the node looks, if the offer is for it."""
    kind = offer.directory.split("/")[0]
    if reference.folder is None:
        same = (folder for folder in folders.values() if _is_for(folder, kind))
        return folders.get(kind) or next(same, None)
    folder = folders.get(reference.folder)
    return folder if folder is not None and _is_for(folder, kind) else None


def _is_for(folder: ModelFolder, kind: str) -> bool:
    return folder.name == kind or any(path.name == kind for path in folder.paths)


def _is_named(reference: ModelReference, offer: OfferedModel) -> bool:
    name = callers_names(usual_name(reference.name))
    names = {name, name.rpartition("/")[2]}
    if reference.folder == _EMBEDDINGS:  # A prompt may leave out the ending.
        return offer.name in names or offer.name.rpartition(".")[0] in names
    return offer.name in names or ("/" in offer.name and offer.name.rpartition("/")[2] == name)


def _callers_name(reference: ModelReference, offer: OfferedModel) -> str:
    """What the caller calls the file, as a path that stays in its folder."""
    name = callers_names(usual_name(reference.name))
    try:
        name_parts(name)
    except BadName:
        return offer.name
    ending = offer.name.rpartition(".")[2]
    return name if name.rpartition(".")[2] == ending else f"{name}.{ending}"


def shown(offer: OfferedModel) -> str:
    """An offer in a message."""
    return f"{offer.directory}/{offer.name}"
