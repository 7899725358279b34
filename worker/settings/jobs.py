"""Settings of jobs: their limits, their files, and the nodes that they may use.

To add a setting, add a field here, its group and an example in docs/source/configuration.toml, and its Indonesian text
in docs/source/configuration.id.toml. Then run scripts/make_docs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel

from worker.settings.field import setting
from worker.settings.readers import AbsolutePath, Boolean, CommaList, FolderNames, Megabytes, SafeNodes


class JobSettings(BaseModel):
    """What a job may send, use and return, and how long it may run."""

    worker_state_dir: Path | None = setting(
        None,
        "a folder that can be written",
        "Where ComfyUI's input, output, temp and user folders and the jobs' own folders are made, and removed at the "
        "end. Default: `/dev/shm` with at least 2 GiB free, otherwise the system's temporary folder.",
    )
    max_input_mb: float = setting(
        100.0, "a number above 0", "Largest size of one input file, in MB, decoded.", gt=0, allow_inf_nan=False
    )
    max_image_pixels: int = setting(
        178_956_970, "a whole number above 0", "Most pixels one input image may have, all its frames together.", gt=0
    )
    max_response_mb: float | None = setting(
        None,
        "a number above 0",
        "Largest answer, in MB. Default: what RunPod takes, 20 for jobs of `/runsync` and 10 for others; the local "
        "server has no limit.",
        gt=0,
        allow_inf_nan=False,
    )
    report_ui: Boolean = setting(
        False,
        "true or false",
        "Whether answers have `ui`: what each node tells ComfyUI's page, as `/history` of a ComfyUI server has it. A "
        "request's own `ui` wins.",
    )
    input_files: Literal["media", "any"] = setting(
        "media",
        "media or any",
        "Which files `images` may have. `media`: pictures, videos, audio, latents, 3D models, and texts whose content "
        "fits the ending of their names (`.txt`, `.json`, `.csv`, `.srt`, `.cube` and others). `any`: also all other "
        "files, such as archives, fonts and models in pickle formats, which can hold code. Playlists and manifests are "
        "never accepted.",
    )
    input_urls: Literal["public", "off"] = setting(
        "public",
        "public or off",
        "Whether `images` may be given as URLs: of public addresses alone, or not at all.",
    )
    output_folders: FolderNames = setting(
        (),
        "names of folders with commas between them",
        "Folders that ComfyUI's output folder has before each job. Some nodes offer the folders in it as choices, and "
        "refuse others; between jobs it is empty otherwise.",
    )
    warmup_workflow: Path | None = setting(
        None,
        "a workflow's file",
        "A workflow that is run once before the first job is taken, so that its models are loaded by then.",
    )
    warmup_required: Boolean = setting(
        False,
        "true or false",
        "Do not start if `WARMUP_WORKFLOW` fails. Otherwise that is a warning, and the worker takes jobs all the same.",
    )
    workflows_dir: AbsolutePath | None = setting(
        None,
        "a folder",
        'Workflow files that requests run by name: `portrait.json` is `"workflow": "portrait"`. Those in '
        "`workflows/` of the network volume have names as well; where both have a name, this folder's file runs.",
    )
    workflows_only: Boolean = setting(
        False, "true or false", "Run workflows by name alone, and refuse requests that bring a graph."
    )
    job_timeout_s: float = setting(
        0.0,
        "a number, 0 or above",
        "Seconds that a job may run, once it has its turn; then it is interrupted, and what it has finished is sent. A "
        "request's own `timeout_s` may be shorter. 0: no limit.",
        ge=0,
        allow_inf_nan=False,
    )
    job_stall_timeout_s: float = setting(
        0.0,
        "a number, 0 or above",
        "Seconds after which a job counts as hung and is interrupted: it reports nothing, computes nothing, and waits "
        "for no file and no network. 0: never.",
        ge=0,
        allow_inf_nan=False,
    )
    page_wait_s: float = setting(
        30.0,
        "a number, 0 or above",
        "Seconds after which a job is interrupted whose node waits for somebody to answer in ComfyUI's page, as nodes "
        "that let a person choose an image do. 0: never.",
        ge=0,
        allow_inf_nan=False,
    )
    freeze_timeout_s: float = setting(
        120.0,
        "a number, 0 or above",
        "Seconds that the worker may stand still, because a node or a library holds Python's lock. Then the job gets "
        "an error, the stacks of all threads are logged, and the process ends. An import or a model may hold the lock "
        "for a minute. 0: no limit.",
        ge=0,
        allow_inf_nan=False,
    )
    max_job_mb: Megabytes = setting(
        "auto",
        "auto, or a number, 0 or above",
        "Memory that one job may add to the process, in MB. The pictures that it sends count as they are when decoded. "
        "A node that needs more gets an error, and models stay loaded. `auto`: half of the container's memory. 0: no "
        "limit.",
    )
    max_rss_mb: Megabytes = setting(
        "auto",
        "auto, or a number, 0 or above",
        "Host memory of the process, in MB, above which models and caches are freed between jobs; where that is not "
        "enough, a worker on RunPod takes no more jobs and ends, to be started anew. `auto`: 90 % of the container's "
        "memory, without mapped files. A job that reaches these 90 % is stopped with an error. 0: no limit, and no job "
        "is stopped.",
    )
    node_allowlist: CommaList = setting(
        (),
        "names of node classes with commas between them",
        "Node classes that workflows may use, and no others; `*` stands for any text: `Load*,SaveImage`. Empty: all.",
    )
    node_denylist: CommaList = setting(
        (),
        "names of node classes with commas between them",
        "Node classes that workflows may not use, whatever `NODE_ALLOWLIST` says; `*` stands for any text.",
    )
    safe_nodes: SafeNodes = setting(
        "off",
        "off, core, or core and names of node packs with commas between them",
        "`core`: workflows may use only those node classes of ComfyUI that were reviewed for callers whom you do not "
        "know. `core,PACK`: also all classes of the node pack in the folder `PACK`. The worker does not start with it "
        "if `COMFY_BACKEND=websocket`.",
    )
