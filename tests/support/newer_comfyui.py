"""A copy of the ComfyUI that is tested, changed to what the source of 0.38.1 says. No tree of that version was at hand.

The copy has 0.38.1's signatures, flags and order of calls. What these call is written here, and notes what it is asked.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

Change = tuple[str, str, str]

_ASSETS = '''
"""Stands for ComfyUI's: notes what it is asked."""
import os, shutil
import folder_paths
from comfy.cli_args import args

class Manager:
    def __init__(self):
        self.enabled, self.sink, self.calls, self.paused = not args.disable_assets, None, [], False

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        return lambda *given, **named: self.calls.append(name)

    def set_event_sink(self, sink):
        self.sink = sink

    def startup(self):
        self.calls.append("startup")
        shutil.rmtree(folder_paths.get_temp_directory(), ignore_errors=True)

    def pause_background_scan(self):
        self.paused = True

    def resume_background_scan(self):
        self.paused = False

def default_asset_manager():
    return Manager()
'''
GOVERNANCE = """
import yaml

def load_disabled_nodes(path):
    with open(path) as file:
        content = yaml.safe_load(file)
    if not isinstance(content, dict):
        raise ValueError("disabled nodes config must be a mapping")
    return set(content["disabled_nodes"])

def apply_disabled_nodes(disabled):
    import nodes
    for name in disabled:
        nodes.NODE_CLASS_MAPPINGS.pop(name, None)
"""
_MEDIA = """
import os
import folder_paths

seen = []

def enrich_output_with_media_metadata(output_ui):
    for entry in output_ui.get("images", []):
        path = os.path.join(folder_paths.get_directory_by_type(entry["type"]), entry["subfolder"], entry["filename"])
        seen.append([entry.get("metadata"), os.path.getsize(path)])
    return output_ui
"""
_FLAGS = """
for name in ("--disable-assets", "--enable-assets", "--offline", "--disable-partner-nodes"):
    if name not in parser._option_string_actions:
        parser.add_argument(name, action="store_true")
parser.add_argument("--disabled-nodes-config", type=str, default=None)
parser._option_string_actions["--cuda-device"].type = str

if comfy.options.args_parsing:"""
_DERIVED = """
if args.disable_api_nodes:
    args.offline = True
if args.offline:
    args.disable_partner_nodes = True
"""
_CUSTOM_PATHS = """def apply_custom_paths():
    newer = os.path.join(os.path.dirname(os.path.realpath(__file__)), "extra_paths.yaml")
    if os.path.isfile(newer):
        utils.extra_config.load_extra_path_config(newer)
"""

NEW_FILES = {
    "app/assets/manager.py": _ASSETS,
    "app/governance.py": GOVERNANCE,
    "comfy_execution/media_enrichment.py": _MEDIA,
}
CHANGES: tuple[Change, ...] = (
    ("comfyui_version.py", r'__version__ = "[^"]*"', '__version__ = "0.38.1"'),
    (
        "server.py",
        r"    def __init__\(self, loop\):\n",
        "    def __init__(self, loop, asset_manager):\n"
        "        self.asset_manager = asset_manager\n"
        "        asset_manager.register_routes(None, None)\n"
        "        asset_manager.set_event_sink(self.send_sync)\n",
    ),
    ("main.py", r"def prompt_worker\(q, server_instance\):", "def prompt_worker(q, server_instance, asset_manager):"),
    ("main.py", r"(e = execution\.PromptExecutor\(.*\})\s*\)", r"\1, asset_manager=asset_manager)"),
    (
        "main.py",
        r"def setup_database\(\):\n",
        "def setup_database(asset_manager):\n    return asset_manager.startup()\n",
    ),
    ("main.py", r"def apply_custom_paths\(\):\n", _CUSTOM_PATHS),
    (
        "main.py",
        r"import os\n",
        "import os\n"
        "from app import governance\n"
        "from app.assets.manager import default_asset_manager\n"
        "from comfy_api import feature_flags\n",
    ),
    (
        "execution.py",
        r"cache_type=False, cache_args=None\):",
        "cache_type=False, cache_args=None, asset_manager=None):",
    ),
    (
        "execution.py",
        r"class PromptExecutor:\n",
        "from comfy_execution.media_enrichment import enrich_output_with_media_metadata\n\nclass PromptExecutor:\n",
    ),
    ("execution.py", r"        self\.cache_args = cache_args\n", r"\g<0>        self.asset_manager = asset_manager\n"),
    (
        "execution.py",
        r"        if len\(output_ui\) > 0:\n",
        r"\g<0>            output_ui = enrich_output_with_media_metadata(output_ui)\n",
    ),
    ("comfy/cli_args.py", r"\nif comfy\.options\.args_parsing:", _FLAGS),
    ("comfy/cli_args.py", r"\Z", _DERIVED),
)


def newer_comfyui(tree: Path, target: Path) -> Path:
    """Copy ``tree`` to ``target``, and change it. Returns ``target``."""
    not_needed = (".git", "models", "tests", "tests-unit", "blueprints")
    shutil.copytree(tree, target, ignore=lambda folder, _: not_needed if Path(folder) == tree else ())
    for name, content in NEW_FILES.items():
        (target / name).parent.mkdir(exist_ok=True)
        (target / name).write_text(content)
    for name, old, new in CHANGES:
        path = target / name
        text, count = re.subn(old, new if "\\" in new else new.replace("\\", r"\\"), path.read_text(), count=1)
        assert count == 1, f"{name} has no {old!r}"
        path.write_text(text)
    return target
