"""Finds in a syntax tree what a reviewer of node classes has to look at."""

from __future__ import annotations

import ast
import re
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
# What evaluates, formats, compiles or reads a text, wherever it comes from.
_INTERPRETERS = frozenset({
    "EvalWithCompoundTypes", "Formatter", "SimpleEval", "__import__", "apply_chat_template", "compile", "eval", "exec",
    "format", "format_map", "from_string", "glCompileShader", "glShaderSource", "import_module", "literal_eval",
    "popen", "safe_substitute", "simple_eval", "strftime", "strptime", "substitute", "system", "token_weights",
    "vformat",
})  # fmt: skip
_READERS = frozenset({
    "ast", "fnmatch", "importlib", "jinja2", "json", "marshal", "pickle", "re", "regex", "shlex", "simpleeval",
    "subprocess", "yaml",
})  # fmt: skip
_WRITE_ONLY = frozenset({"dump", "dumps", "escape"})
_TOKEN = re.compile(r"%\w+%")


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
    """How ``node`` itself, without what it holds, interprets a text: what is called, ``%``, or ``%token%``."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mod) and _formats(node):
        yield "%"
    if isinstance(node, ast.Import | ast.ImportFrom):
        yield from _renamed(node)
    if not isinstance(node, ast.Call):
        return
    function = node.func
    if isinstance(function, ast.Name):
        # ``format(value)`` of one value has no text that says how.
        if function.id in _INTERPRETERS and not (function.id == "format" and len(node.args) < 2):
            yield function.id
    elif isinstance(function, ast.Attribute):
        yield from _method(function, node.args)


def _renamed(node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    """Imports under which a call would not be known."""
    if isinstance(node, ast.ImportFrom):
        names = [alias.name for alias in node.names if (node.module or "").split(".")[0] in _READERS]
        yield from (f"{node.module}.{name}" for name in names if name not in _WRITE_ONLY)
    else:
        renamed = [alias for alias in node.names if alias.asname and alias.name.split(".")[0] in _READERS]
        yield from (f"import {alias.name} as {alias.asname}" for alias in renamed)


def _method(function: ast.Attribute, args: list[ast.expr]) -> Iterator[str]:
    owner, name, text = _root(function.value), function.attr, args[0] if args else None
    if owner in _READERS:
        if name not in _WRITE_ONLY:
            yield f"{owner}.{name}"
    elif name in _INTERPRETERS:
        is_mode = name == "eval" and not args  # A model is put into a mode.
        is_own_text = name.startswith("format") and isinstance(function.value, ast.Constant)
        if not is_mode and not is_own_text and owner != "torch":
            yield name
    elif name == "replace" and isinstance(text, ast.Constant) and _TOKEN.fullmatch(str(text.value)):
        yield "%token%"


def _formats(node: ast.BinOp) -> bool:
    """Whether a modulo has a text on its left, or so many values on its right that it cannot be a number."""
    if isinstance(node.left, ast.Constant):
        return False  # A text of the code itself, or a number.
    return isinstance(node.right, ast.Tuple | ast.Dict | ast.JoinedStr) or isinstance(node.left, ast.JoinedStr)


def _root(node: ast.AST) -> str:
    while isinstance(node, ast.Attribute):
        node = node.value
    return node.id if isinstance(node, ast.Name) else ""
