"""``Job``: a valid job, as ``parse.py`` builds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from worker.convert.handles import Handle
from worker.images.formats import FormatName

Workflow = dict[str, Any]


@dataclass(frozen=True)
class InputImage:
    """An input file of a job.

    ``name`` is a relative path, as LoadImage names it. ``data`` is the file's bytes, or the text that the caller sent:
    base64, a ``data:`` URI, or an ``http(s)://`` URL.
    """

    name: str
    data: str | bytes = field(repr=False)


@dataclass(frozen=True)
class OfferedModel:
    """A model file that a request offers, if the worker lacks it.

    Attributes:
        name: its name in its folder, as the workflow writes it; there may be folders before it.
        directory: the kind of model, such as ``checkpoints``, with folders below it if there are any.
        url: an address that was checked.
        sha256: in lower case; None if nobody says.
    """

    name: str
    directory: str
    url: str = field(repr=False)  # There may be a token in it.
    sha256: str | None = None


@dataclass(frozen=True)
class Job:
    """One valid job. ``workflow`` is ComfyUI's API format: ``{node_id: {class_type, inputs, _meta?}}``.

    Attributes:
        editor: the workflow in the format of ComfyUI's editor, if it came so and is not converted yet. Then
            ``workflow`` is empty.
        name: the name of the workflow, if the caller has sent none. Then ``workflow`` is empty until it is read.
        changes: values for inputs, by ``NODE.INPUT``, which are not applied yet. Later mappings win.
        handles: inputs that nodes of the editor show for inputs of ``workflow``.
        written: what the caller has written of the workflow; None: all of it.
        api_key: the caller's Comfy.org key.
        output_format, output_quality, save_metadata, timeout_s: as in the request; None: the settings decide. The time
            is in seconds.
        s3_config: the caller's own bucket, as RunPod's ``s3Config`` describes it.
        extra_pnginfo: what the editor adds to a graph, such as its own form of it under ``workflow``.
        report_ui: whether the answer has the ui dict of every node; None: the settings decide.
        warnings: lines for the caller that change nothing else.
        models: model files that the job brings by their addresses.
    """

    id: str
    workflow: Workflow = field(repr=False)
    images: tuple[InputImage, ...] = ()
    api_key: str | None = field(default=None, repr=False)
    output_format: FormatName | None = None
    output_quality: int | None = None
    timeout_s: float | None = None
    s3_config: Mapping[str, Any] | None = field(default=None, repr=False)
    extra_pnginfo: Mapping[str, Any] | None = field(default=None, repr=False)
    save_metadata: bool | None = None
    report_ui: bool | None = None
    warnings: tuple[str, ...] = ()
    editor: Mapping[str, Any] | None = field(default=None, repr=False)
    name: str | None = None
    changes: tuple[Mapping[str, Any], ...] = field(default=(), repr=False)
    handles: tuple[Handle, ...] = field(default=(), repr=False)
    written: tuple[Any, ...] | None = field(default=None, repr=False)
    models: tuple[OfferedModel, ...] = ()

    @property
    def is_ready(self) -> bool:
        """Whether ``workflow`` is the graph that runs, so that nothing has to be read, converted or set."""
        return self.editor is None and self.name is None and not self.changes
