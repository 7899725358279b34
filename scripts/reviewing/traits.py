"""Finds in a syntax tree what a reviewer of node classes has to look at."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator

_MODULES = {
    "aiohttp": "network",
    "cv2": "files",
    "http": "network",
    "httpx": "network",
    "huggingface_hub": "network",
    "moderngl": "GLSL",
    "multiprocessing": "process",
    "OpenGL": "GLSL",
    "pickle": "pickle",
    "requests": "network",
    "shutil": "files",
    "socket": "network",
    "subprocess": "process",
    "urllib": "network",
}
_CALLS = {
    "backward": "trains",
    "connect": "network",
    "copyfile": "writes",
    "execvp": "process",
    "exists": "files",
    "from_pretrained": "network",
    "get_annotated_filepath": "reads by name",
    "get_directory_by_type": "files",
    "get_full_path": "models by name",
    "get_full_path_or_raise": "models by name",
    "get_input_directory": "files",
    "get_output_directory": "files",
    "get_save_image_path": "saves",
    "getenv": "environment",
    "glob": "files",
    "hf_hub_download": "network",
    "imread": "files",
    "imwrite": "writes",
    "listdir": "files",
    "load": "loads",
    "load_checkpoint": "models by name",
    "load_torch_file": "models by name",
    "makedirs": "writes",
    "mkdir": "writes",
    "open": "files",
    "popen": "process",
    "read_bytes": "files",
    "read_text": "files",
    "remove": "writes",
    "rename": "writes",
    "requires_grad_": "trains",
    "rmtree": "writes",
    "save": "writes",
    "save_file": "writes",
    "save_torch_file": "writes",
    "save_to": "writes",
    "shaderSource": "GLSL",
    "system": "process",
    "tofile": "writes",
    "unlink": "writes",
    "urlopen": "network",
    "walk": "files",
    "write": "writes",
    "write_bytes": "writes",
    "write_text": "writes",
}
_RUNS_CODE = frozenset({
    "eval", "exec", "compile", "simple_eval", "SimpleEval", "EvalWithCompoundTypes", "__import__", "import_module",
    "literal_eval", "getattr_static", "safe_substitute",
})  # fmt: skip
_TEXT_METHODS = frozenset({"format", "format_map", "strftime", "strptime", "translate", "substitute"})
_TEXT_MODULES = frozenset({
    "ast", "importlib", "jinja2", "json", "marshal", "pickle", "re", "regex", "shlex", "simpleeval", "subprocess",
    "yaml", "csv", "string", "codecs", "textwrap", "fnmatch",
})  # fmt: skip


def traits(statements: Iterable[ast.AST]) -> set[str]:
    """What code does that matters to somebody who lets strangers use it."""
    return {trait for statement in statements for node in ast.walk(statement) for trait in _traits(node)}


def _traits(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Name) and node.id in _MODULES:
        yield _MODULES[node.id]
    elif isinstance(node, ast.Attribute) and node.attr == "environ":
        yield "environment"
    elif isinstance(node, ast.Import | ast.ImportFrom):
        names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
        yield from (_MODULES[name.split(".")[0]] for name in names if name.split(".")[0] in _MODULES)
    elif isinstance(node, ast.Call):
        called = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        if called in _CALLS:
            yield f"{_CALLS[called]} ({called})"
    yield from (f"text ({kind})" for kind in interpreting(node))


def interpreting(node: ast.AST) -> Iterator[str]:
    """How ``node`` itself, without what it holds, interprets a text: what is called, or ``%``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and _formats(node):
        yield "%"
    if not isinstance(node, ast.Call):
        return
    function = node.func
    if isinstance(function, ast.Name):
        if function.id in _RUNS_CODE or (function.id == "format" and len(node.args) > 1):
            yield function.id
    elif isinstance(function, ast.Attribute):
        owner = _root(function.value)
        is_method = function.attr in _TEXT_METHODS and not isinstance(function.value, ast.Constant)
        if owner in _TEXT_MODULES:
            yield f"{owner}.{function.attr}"
        elif is_method or (function.attr in _RUNS_CODE and owner != "torch"):
            yield function.attr


def _formats(node: ast.BinOp) -> bool:
    """Whether a modulo has a text on its left, or so many values on its right that it cannot be a number."""
    if isinstance(node.left, ast.Constant):
        return False  # A text of the code itself, or a number.
    return isinstance(node.right, ast.Tuple | ast.Dict | ast.JoinedStr) or isinstance(node.left, ast.JoinedStr)


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
