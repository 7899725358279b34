"""The files that the nodes of one job save: encoded, told of, kept for ComfyUI's cache."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from worker.embedded.files.fingerprint import JobContent
from worker.embedded.files.reuse import FileReuse
from worker.embedded.files.unnamed import UnnamedFiles
from worker.embedded.node_classes import NodeClasses
from worker.engine.graph_run import GraphRun
from worker.images.encoder import EncodeFailure, ImageEncoder, JobImages
from worker.protocol.prompt_outcome import PromptOutcome, file_entries


class OutputFiles:
    """What all jobs share to care for their files, and the job that runs now.

    Attributes:
        output: ComfyUI's output folder.
        encoder: encodes images.
        reuse: the files of nodes that ComfyUI's cache answers for.
        classes: ComfyUI's node classes.
        current: the job that runs; None between jobs.
    """

    def __init__(self, output: Path, reuse: FileReuse, classes: NodeClasses) -> None:
        self.output, self.reuse, self.classes = output, reuse, classes
        self.encoder = ImageEncoder()
        self.current: JobFiles | None = None

    @contextmanager
    def of_job(self, run: GraphRun) -> Iterator[JobFiles]:
        """Within this context ``run`` is the job whose files are saved."""
        self.current = files = JobFiles(self, run)
        try:
            yield files
        finally:
            self.current = None
            files.images.wait()


class JobFiles:
    """The one owner of a job's saved files while its graph runs.

    Attributes:
        content: what the job brings along, for ComfyUI's cache.
        image_format: of what SaveImage saves.
        images: those that are being encoded.
        runs_save_image: whether the node that runs is SaveImage itself, and not a node that calls it.
    """

    def __init__(self, shared: OutputFiles, run: GraphRun) -> None:
        self.content = JobContent(run.staged, run.api_key, run.workflow, run.image_format)
        self.image_format = run.image_format
        self.images = JobImages(shared.encoder, run.on_file)
        self.runs_save_image = False
        self._shared, self._classes = shared, shared.classes
        self._on_file = run.on_file
        self._unnamed = UnnamedFiles(shared.output)
        self._named: dict[str, dict[str, Any]] = {}

    def begin_prompt(self) -> None:
        """A prompt of the job begins."""
        self._unnamed.begin()

    def hear(self, graph: Mapping[str, Any], name: Any, data: Any) -> Any:
        """See what a message of ComfyUI means for files; the message as its listeners get it.

        A node pack may send anything under one of ComfyUI's names.
        """
        if not isinstance(data, dict):
            return data
        if name == "execution_cached" and isinstance(data.get("nodes"), list):
            return {**data, "nodes": self._shared.reuse.before(data["nodes"])}
        node_id = data.get("node")
        if isinstance(node_id, str) and name in ("executing", "executed"):
            class_type = str(graph.get(node_id, {}).get("class_type"))
            if name == "executing":
                self._node_starts(node_id, class_type)
            else:
                self._node_names(node_id, class_type, data.get("output"))
        return data

    def _node_starts(self, node_id: str, class_type: str) -> None:
        self.runs_save_image = self._classes.is_save_image(class_type)
        if self._classes.may_read_files(class_type):
            self.images.wait()
        watched = self._classes.is_output(class_type) and not self.runs_save_image
        self._unnamed.node_starts(node_id if watched else None)

    def _node_names(self, node_id: str, class_type: str, output: Any) -> None:
        """A node has told what it has saved or shown."""
        self._unnamed.node_names(node_id)
        if not isinstance(output, dict):
            return
        self._named[node_id] = output
        if self._on_file is None or self._classes.is_save_image(class_type):  # Its encoder tells of the files.
            return
        for entry in file_entries(output):
            if entry.get("type") == "output":
                self._on_file(self._path(entry))

    def end_prompt(self, outcome: PromptOutcome, graph: Mapping[str, Any]) -> PromptOutcome:
        """Wait until all files are whole, and add to ``outcome`` what it does not say of them."""
        reuse, failures = self._shared.reuse, self.images.finish()
        if failures:
            complete, outcome = outcome, self._without(outcome, failures)
            reuse.forget([n for n in outcome.outputs if outcome.outputs[n] != complete.outputs[n]])
        reuse.after(outcome.outputs, graph)
        unnamed = self._unnamed.end()
        reuse.forget(unnamed)  # What they saved and did not name could not be brought back.
        if outcome.status != "success":
            reuse.cache.forget_objects_handed_on(graph)
        return replace(outcome, unnamed=unnamed)

    def named_so_far(self) -> PromptOutcome:
        """What nodes have named, of a job that does not stop. Images that are still being encoded may be missing."""
        return PromptOutcome("", "interrupted", dict(self._named))

    def _without(self, outcome: PromptOutcome, failures: Sequence[EncodeFailure]) -> PromptOutcome:
        """``outcome`` with a line for each image that could not be saved, in place of its entry."""
        gone = {str(failure.path) for failure in failures}

        def is_kept(entry: Any) -> bool:
            return not (isinstance(entry, dict) and "filename" in entry and str(self._path(entry)) in gone)

        outputs = {
            node_id: {
                key: list(filter(is_kept, value)) if isinstance(value, list) else value for key, value in shown.items()
            }
            for node_id, shown in outcome.outputs.items()
        }
        lines = tuple(f"{failure.path.name}: {failure.error}" for failure in failures)
        return replace(outcome, outputs=outputs, unsaved=lines)

    def _path(self, entry: Mapping[str, Any]) -> Path:
        return self._shared.output / str(entry.get("subfolder") or "") / str(entry["filename"])
