"""Follows the files that a job's nodes save: waits for them, reports them, and keeps them for ComfyUI's cache."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from worker.embedded.cache.fingerprint import JobContent, digest_key
from worker.embedded.cache.kept import Unlisted
from worker.embedded.cache.reuse import FileReuse
from worker.embedded.files.sent_pictures import SentPictures
from worker.embedded.files.unnamed import UnnamedFiles
from worker.embedded.node_classes import NodeClasses
from worker.embedded.pack_routes import PackRoutes
from worker.engine.graph_run import GraphRun
from worker.images.encoder import EncodeFailure, ImageEncoder, JobImages
from worker.protocol.links import needed_nodes
from worker.protocol.prompt_outcome import PromptOutcome, file_entries, with_entries
from worker.receipt.current import current, enter

_log = logging.getLogger("worker")


class OutputFiles:
    """What all jobs share for their saved files, and the files of the job that runs now.

    Attributes:
        output: ComfyUI's output folder.
        encoder: encodes images.
        reuse: keeps the files of nodes that ComfyUI serves from its cache.
        classes: ComfyUI's node classes.
        routes: the routes of ComfyUI's server.
        current: the files of the job that runs; None between jobs.
    """

    def __init__(self, output: Path, reuse: FileReuse, classes: NodeClasses, routes: PackRoutes) -> None:
        self.output, self.reuse, self.classes, self.routes = output, reuse, classes, routes
        self.encoder = ImageEncoder()
        self.current: JobFiles | None = None

    @contextmanager
    def of_job(self, run: GraphRun) -> Iterator[JobFiles]:
        """Within this context, ``current`` holds the files of ``run``."""
        self.current = files = JobFiles(self, run)
        try:
            yield files
        finally:
            self.current = None
            files.images.wait()


class JobFiles:
    """The one owner of a job's saved files while its graph runs.

    Attributes:
        content: what the results of the job's nodes may depend on, for ComfyUI's cache.
        image_format: format of the images that SaveImage saves.
        images: the images that are being encoded.
        runs_save_image: whether the node that runs is SaveImage itself, and not a node that calls it.
    """

    def __init__(self, shared: OutputFiles, run: GraphRun) -> None:
        self.content = JobContent(
            run.staged, digest_key(run.api_key), run.workflow, run.image_format, run.extra_pnginfo, run.save_metadata
        )
        self.image_format = run.image_format
        receipt = current()
        on_encoded = partial(receipt.note, "encode") if receipt is not None else None
        self.images = JobImages(shared.encoder, run.on_file, on_encoded)
        self.runs_save_image = False
        self._shared, self._classes = shared, shared.classes
        self._on_file = run.on_file
        self._unnamed = UnnamedFiles(shared.output)
        self._sent = SentPictures(shared.output, shared.classes, shared.routes)
        self._named: dict[str, dict[str, Any]] = {}
        self._displays: dict[str, str] = {}
        self._cache_is_read = False
        self._passed_over: dict[str, Mapping[str, Any]] = {}

    def begin_prompt(self) -> None:
        """Begin to follow a prompt of the job."""
        self._cache_is_read, self._passed_over = False, {}
        self._shared.reuse.begin()
        self._unnamed.begin()
        self._sent.begin()

    def hear(self, graph: Mapping[str, Any], name: Any, data: Any) -> Any:
        """Handle what a message of ComfyUI means for files. Returns the message's data as listeners should get it.

        ``data`` can be anything, since a node pack may send its own data under one of ComfyUI's names.
        """
        if isinstance(name, int):
            self._sent.hear(name, data)
        if not isinstance(data, dict):
            return data
        if name == "execution_cached" and not self._cache_is_read and _are_ids(data.get("nodes")):
            self._cache_is_read = True  # ComfyUI sends it once, before the first node. All others are a pack's.
            return {**data, "nodes": self._serve_from_cache(data["nodes"])}
        node_id = data.get("node")
        if isinstance(node_id, str) and name in ("executing", "executed"):
            known = graph.get(node_id)
            class_type = str(known["class_type"]) if known else self._shared.reuse.cache.class_of(node_id)
            if name == "executing":
                self._displays[node_id] = str(data.get("display_node", node_id))
                self._node_starts(node_id, class_type)
            else:
                self._node_names(node_id, class_type, data.get("output"))
        return data

    def _serve_from_cache(self, node_ids: Sequence[str]) -> list[str]:
        """Bring back the files of nodes that ComfyUI serves from its cache. Returns the nodes that stay cached."""
        reuse = self._shared.reuse
        cached = reuse.before(node_ids, self.content)
        self._unnamed.bring_back(file.relative for kept in reuse.brought_back.values() for file in kept.files)
        self._passed_over = {node_id: shown for node_id in cached if (shown := reuse.cache.shown(node_id))}
        return cached

    def shown_again(self, prompt_id: str, graph: Mapping[str, Any], outputs: Iterable[str]) -> list[dict[str, Any]]:
        """The ``executed`` message of each node that ComfyUI serves from its cache without a word.

        It tells what ``outputs`` have shown. Nodes that these need can show something as well.
        """
        told = set(outputs)
        needed = set(needed_nodes(graph, told)) - told if self._passed_over else set()
        self._passed_over = {node_id: ui for node_id, ui in self._passed_over.items() if node_id in needed}
        return [
            {"node": node_id, "display_node": node_id, "output": ui["output"], "prompt_id": prompt_id}
            for node_id, ui in self._passed_over.items()
        ]

    def _node_starts(self, node_id: str, class_type: str) -> None:
        self.runs_save_image = self._classes.is_save_image(class_type)
        if self._classes.may_read_files(class_type):
            self.images.wait()
        is_output = self._classes.is_output(class_type)
        may_save = (is_output or not self._classes.is_builtin(class_type)) and not self.runs_save_image
        self._sent.node_starts(node_id, class_type)
        self._unnamed.node_starts(node_id, may_save=may_save, is_output=is_output)

    def _node_names(self, node_id: str, class_type: str, output: Any) -> None:
        """Note what a node has saved or shown, and report the files."""
        if not isinstance(output, dict):
            return
        self._named[node_id] = output
        if self._on_file is None or self._classes.is_save_image(class_type):  # ``images`` reports its files.
            return
        for entry in file_entries(output):
            if entry.get("type") == "output":
                self._on_file(self._path(entry))

    def end_prompt(self, outcome: PromptOutcome, graph: Mapping[str, Any]) -> PromptOutcome:
        """Wait until all files are complete, and add to ``outcome`` which are unnamed or could not be saved."""
        enter("encode")
        reuse, failures = self._shared.reuse, self.images.finish()
        enter("collection")
        if failures:
            complete, outcome = outcome, self._corrected(outcome, failures)
            reuse.forget([n for n in outcome.outputs if outcome.outputs[n] != complete.outputs[n]])
        warnings, self.images.warnings = tuple(dict.fromkeys(self.images.warnings)), []
        again = {node_id: ui["output"] for node_id, ui in self._passed_over.items()}
        outcome = replace(outcome, outputs={**again, **outcome.outputs}, warnings=warnings)
        outcome = self._with_unlisted(outcome)
        self._note_in_cache(outcome, graph)
        return outcome

    def _with_unlisted(self, outcome: PromptOutcome) -> PromptOutcome:
        """``outcome`` with the files that no ui dict names: unnamed ones, and those of pictures for the page."""
        kept = {n: kept.unlisted for n, kept in self._shared.reuse.brought_back.items() if kept.unlisted is not None}
        made = self._sent.end(outcome.outputs, kept)
        named = self._names([*outcome.outputs.values(), *({"images": entries} for entries in made.entries.values())])
        again = {n: [{"filename": name, "type": "output"} for name in unlisted.sent] for n, unlisted in kept.items()}
        return replace(
            outcome,
            unnamed={**{node_id: unlisted.unnamed for node_id, unlisted in kept.items()}, **self._unnamed.end(named)},
            sent={**again, **made.entries},
            display_ids={**self._displays, **outcome.display_ids},
            warnings=(*outcome.warnings, *made.lines),
        )

    def _names(self, outputs: Iterable[Mapping[str, Any]]) -> set[str]:
        """Paths in the output folder of the files that ui dicts name."""
        root, entries = f"{self._shared.output}/", (e for output in outputs for e in file_entries(output))
        paths = (f"{root}{entry.get('subfolder') or ''}/{entry['filename']}" for entry in entries)
        return {os.path.normpath(path).removeprefix(root) for path in paths}

    def _note_in_cache(self, outcome: PromptOutcome, graph: Mapping[str, Any]) -> None:
        """Keep the prompt's files for ComfyUI's cache. If that fails, the nodes run again in the next job."""
        reuse = self._shared.reuse
        try:
            reuse.after(outcome.outputs, graph, self._unlisted(outcome))
            if outcome.status != "success":
                reuse.cache.forget_objects_handed_on(graph)
        except Exception:  # noqa: BLE001 - the results of nodes can be anything, and the job is done.
            _log.exception("The files of a job cannot be kept for ComfyUI's cache")
            reuse.forget([*outcome.outputs, *outcome.unnamed, *outcome.sent, *graph])

    def _unlisted(self, outcome: PromptOutcome) -> dict[str, Unlisted]:
        """The files of each node that its ui dict does not name."""
        return {
            node_id: Unlisted(
                self.content.digest,
                outcome.unnamed.get(node_id, ()),
                tuple(entry["filename"] for entry in outcome.sent.get(node_id, ())),
            )
            for node_id in {*outcome.unnamed, *outcome.sent}
        }

    def named_so_far(self) -> PromptOutcome:
        """What the job's nodes have named so far, for a job that does not stop. Some images may not be encoded yet."""
        return self._with_unlisted(PromptOutcome("", "interrupted", dict(self._named)))

    def _corrected(self, outcome: PromptOutcome, failures: Sequence[EncodeFailure]) -> PromptOutcome:
        """``outcome`` with the names of the PNGs that were made instead of other images.

        Images that could not be saved at all have no entry, and a line in ``unsaved``.
        """
        known = {str(failure.path): failure.instead for failure in failures}

        def corrected(entry: Any) -> list[Any]:
            path = str(self._path(entry)) if isinstance(entry, dict) and "filename" in entry else None
            if path not in known:
                return [entry]
            instead = known[path]
            return [] if instead is None else [{**entry, "filename": instead.name}]

        lines = tuple(f"{failure.path.name}: {failure.error}" for failure in failures if failure.instead is None)
        return replace(outcome, outputs=with_entries(outcome.outputs, corrected), unsaved=lines)

    def _path(self, entry: Mapping[str, Any]) -> Path:
        return self._shared.output / str(entry.get("subfolder") or "") / str(entry["filename"])


def _are_ids(nodes: Any) -> bool:
    return isinstance(nodes, list) and all(isinstance(node_id, str) for node_id in nodes)
