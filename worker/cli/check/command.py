"""``python -m worker check``: prints the settings and what a job would find here, and runs a test job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from worker.cli.check.bucket import print_bucket
from worker.cli.check.workflows import print_workflows
from worker.cli.exit_code import ExitCode
from worker.embedded.reviewed.switch import reviewed_nodes, summary, warnings
from worker.embedded.runtime import Runtime
from worker.embedded.versions import READ, TRIED
from worker.engine.node_policy import NodePolicy
from worker.engine.workspace import StateFolder
from worker.errors import StartError
from worker.settings import Settings, take_settings
from worker.start_steps import STEPS
from worker.worker import Worker


def check() -> int:
    """Print settings, bucket, ComfyUI, device, model folders and node packs. The exit code says whether a job can run.

    Raises:
        StartError: a setting cannot be read, the bucket's settings do not fit together, or ComfyUI cannot start.
    """
    console = Console(highlight=False, soft_wrap=True)
    settings = take_settings()
    console.print(_settings_table(settings))
    print_bucket(console, settings)
    # The lists of allowed and denied node classes are for callers. The test job is the operator's own.
    unlimited = settings.quiet().model_copy(update={"node_allowlist": (), "node_denylist": (), "safe_nodes": "off"})
    unlimited = unlimited.model_copy(update={"lazy_custom_nodes": False})  # All packs are to be seen.
    with Worker(unlimited, say=lambda notice: console.print(str(notice), style="dim", markup=False)) as worker:
        if worker.runtime is not None:
            _print_runtime(console, worker.runtime)
            policy = _print_policy(console, settings, worker.runtime)
        else:
            _print_server(console, settings.comfy_host, worker.state)
            policy = NodePolicy(settings.node_allowlist, settings.node_denylist)
        workflows_can_run = print_workflows(console, worker, policy)
        result = worker.run(_PROBE)
    if not result.ok or result.images[0].size != (8, 8):
        console.print("A job cannot run here:", *result.errors, style="bold red", markup=False)
        return ExitCode.FAILED
    console.print(f"A job can run here: a test job took {result.seconds['run'] * 1000:.1f} ms", style="bold green")
    if not workflows_can_run:
        console.print("Some workflows by name cannot run", style="bold red")
        return ExitCode.FAILED
    return ExitCode.WORKED


_PROBE = {
    "1": {"class_type": "EmptyImage", "inputs": {"width": 8, "height": 8, "batch_size": 1, "color": 0}},
    "2": {"class_type": "SaveImage", "inputs": {"images": ["1", 0], "filename_prefix": "check"}},
}


def _settings_table(settings: Settings) -> Table:
    table = Table("Setting", title="Settings", title_justify="left", show_edge=False)
    table.add_column("Value", overflow="fold")
    for name, value, _ in settings.documented():
        table.add_row(name, escape(value) or "[dim](not set)[/]")
    return table


def _print_runtime(console: Console, runtime: Runtime) -> None:
    source, device = runtime.source, runtime.device()
    facts = {
        "ComfyUI": f"{source.version} from {source.path} ({source.origin})",
        "Tried with": f"ComfyUI {' and '.join(TRIED)}; not with {READ}, of which only the source was read",
        "Base directory": str(source.base),
        "Network volume": str(runtime.volume or "none"),
        "State folder": str(runtime.state.root),
        "torch": device["torch"],
        "Device": device["name"],
        "VRAM": f"{_gb(device['free'])} free of {_gb(device['total'])}" if device["type"] != "cpu" else "none",
        "RAM": f"{_gb(device['ram_free'])} free of {_gb(device['ram_total'])}",
        "Start": ", ".join(f"{name} {seconds:.2f} s" for name, seconds in STEPS.seconds.items()),
    }
    console.print()
    for name, text in facts.items():
        console.print(f"{name + ':':<16}{text}", markup=False)
    console.print()
    console.print(_models_table(runtime))
    console.print()
    console.print(_packs_table(runtime))


def _print_policy(console: Console, settings: Settings, runtime: Runtime) -> NodePolicy:
    reviewed = reviewed_nodes(settings.safe_nodes, runtime)
    policy = NodePolicy(settings.node_allowlist, settings.node_denylist, reviewed.refusal if reviewed else None)
    if reviewed is not None:
        console.print(f"\n{summary(settings.safe_nodes, reviewed)}", markup=False)
    if policy.allowed or policy.denied or policy.review:
        installed = runtime.node_classes()
        usable = sum(map(policy.permits, installed))
        console.print(f"\n{'Node classes:':<16}workflows may use {usable} of {len(installed)}", markup=False)
        for text in (*policy.warnings(installed), *warnings(settings.safe_nodes, runtime)):
            console.print(f"warning: {text}", style="dim", markup=False)
    return policy


def _print_server(console: Console, host: str, state: StateFolder) -> None:
    from worker.remote.api import ComfyApi
    from worker.remote.http import ServerRefused, ServerUnreachable

    api = ComfyApi(host)
    try:
        facts = _server_facts(api.base, api.system_stats())
    except (ServerUnreachable, ServerRefused) as error:
        raise StartError(f"The ComfyUI server at {host} does not tell what it is: {error}") from None
    except (AttributeError, TypeError, ValueError):
        raise StartError(f"The server at {host} is no ComfyUI: its /system_stats cannot be read") from None
    finally:
        api.close()
    console.print()
    for name, text in {**facts, "State folder": str(state.root)}.items():
        console.print(f"{name + ':':<16}{text}", markup=False)
    console.print()


def _server_facts(base: str, stats: Mapping[str, Any]) -> dict[str, str]:
    system = stats.get("system") or {}
    return {
        "ComfyUI": f"{system.get('comfyui_version', 'unknown')}, a server at {base}",
        "torch": str(system.get("pytorch_version", "unknown")),
        **{
            f"Device {device.get('index') or 0}": f"{device.get('name')}, {_gb(device.get('vram_free', 0))} free of "
            f"{_gb(device.get('vram_total', 0))}"
            for device in stats.get("devices") or []
        },
        "RAM there": f"{_gb(system.get('ram_free', 0))} free of {_gb(system.get('ram_total', 0))}",
    }


def _models_table(runtime: Runtime) -> Table:
    table = Table("Folder", "Files", title="Model folders", title_justify="left", show_edge=False)
    table.add_column("Read from", overflow="fold")
    for folder in runtime.model_folders():
        table.add_row(folder.name, str(len(runtime.model_files(folder.name))), "\n".join(map(str, folder.paths)))
    return table


def _packs_table(runtime: Runtime) -> Table:
    table = Table("Node pack", "Import", title="Custom nodes", title_justify="left", show_edge=False)
    table.add_column("", overflow="fold")
    for pack in runtime.node_packs:
        table.add_row(
            pack.name, f"{pack.seconds:.2f} s", f"[red]FAILED: {escape(pack.error)}[/]" if pack.error else "ok"
        )
    if not runtime.node_packs:
        table.add_row("(none)", "", "")
    return table


def _gb(count: int) -> str:
    return f"{count / 1024**3:.1f} GiB"
