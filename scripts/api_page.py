"""Makes docs/openapi.json and docs/api.md from the local API's own OpenAPI document."""

from __future__ import annotations

import importlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from docs_source import PROJECT, DocsProblem, fill, placeholders, shown, table

from worker.local_api.answers import ERROR_TYPES
from worker.local_api.app import make_app
from worker.local_api.job import State
from worker.local_api.jobs import LocalJobs
from worker.settings import Settings
from worker.worker import Worker
from worker.workflows.catalog import Catalog

_TEMPLATE = "api.md"
Schema = Mapping[str, Any]


def api_pages() -> dict[Path, str]:
    """The text of each page, by its path.

    Raises:
        DocsProblem: the template has no place for a schema, or a name in it has no value.
    """
    document = openapi_document()
    schemas = document["components"]["schemas"]
    values = {
        "operations": operations(document["paths"]),
        "states": ", ".join(f"`{state}`" for state in State),
        "error types": table(("`error_type`", "when"), [(f"`{kind}`", text) for kind, text in ERROR_TYPES.items()]),
        "http errors": http_errors(document["paths"]),
        **{f"fields {name}": fields(schema) for name, schema in schemas.items() if "properties" in schema},
        **constants(),
    }
    return {
        PROJECT / "docs" / "openapi.json": json.dumps(document, indent=2, ensure_ascii=False) + "\n",
        PROJECT / "docs" / "api.md": fill(_TEMPLATE, values, "the local API's OpenAPI document"),
    }


def openapi_document() -> dict[str, Any]:
    """The ``/openapi.json`` of a local server with default settings. ComfyUI is not started for it."""

    async def never(*_: object) -> Any:
        raise NotImplementedError

    jobs = LocalJobs(never, concurrency=1, max_result_bytes=0, on_end=lambda _: None)
    settings = Settings.model_construct()
    worker = Worker(settings)
    return make_app(jobs, settings, Catalog(worker.workflows, worker.converted, worker.definitions)).openapi()


def operations(paths: Schema) -> str:
    """A table with a row for each path: what it does and what it answers."""
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], _answer(operation["responses"]["200"]))
        for path, methods in paths.items()
        for method, operation in methods.items()
    ]
    return table(("path", "what it does", "what it answers"), rows)


def http_errors(paths: Schema) -> str:
    """A table with a row for each HTTP status other than 200."""
    found = {
        code: response["description"]
        for methods in paths.values()
        for operation in methods.values()
        for code, response in operation["responses"].items()
        if code != "200"
    }
    return table(("status", "when"), [(f"`{code}`", found[code]) for code in sorted(found)])


def _answer(response: Schema) -> str:
    content = response["content"]
    return _kind(content["application/json"]["schema"]) if "application/json" in content else "text"


def fields(schema: Schema) -> str:
    """The description of an object, and a table with a row for each field."""
    required = schema.get("required", ())
    rows = [
        (f"`{name}`", _kind(field), _need(name in required, field), field.get("description", ""))
        for name, field in schema["properties"].items()
    ]
    return f"{schema['description']}\n\n" + table(("field", "type", "", "meaning"), rows)


def _need(required: bool, field: Schema) -> str:
    if required:
        return "always"
    default = field.get("default")
    return "optional" if default is None else f"default {shown(default)}"


def _kind(schema: Schema) -> str:
    """A schema in a few words. A schema with a name becomes a link."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "one of the states" if name == "State" else f"[`{name}`](#{name.lower()})"
    if "anyOf" in schema:
        return " or ".join(_kind(inner) for inner in schema["anyOf"] if inner.get("type") != "null")
    if "const" in schema or "enum" in schema:
        values = schema.get("enum", [schema.get("const")])
        return ", ".join(f"`{value}`" for value in values) if len(values) < 5 else "one of those below"
    match schema.get("type"):
        case "array":
            return f"list of {_kind(schema['items'])}"
        case "object" if isinstance(schema.get("additionalProperties"), dict):
            return f"object of {_kind(schema['additionalProperties'])}"
        case kind:
            return str(kind) + _range(schema)


def _range(schema: Schema) -> str:
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None:
        return ""
    return f" from {low:g}" if high is None else f" from {low:g} to {high:.15g}"


def constants() -> dict[str, str]:
    """The values of ``worker.module.NAME`` and ``default VARIABLE`` in the template, by these names."""
    return dict(_constants())


def _constants() -> Iterator[tuple[str, str]]:
    for name in placeholders(_TEMPLATE):
        module, _, constant = name.rpartition(".")
        try:
            if module.startswith("worker."):
                yield name, _number(getattr(importlib.import_module(module), constant))
            elif name.startswith("default "):
                yield name, _number(Settings.model_fields[name.split()[1].lower()].default)
        except (ImportError, AttributeError, KeyError):
            raise DocsProblem([f"docs/source/{_TEMPLATE}: there is no {name}"]) from None


def _number(value: float) -> str:
    return f"{value:,.15g}" if value >= 10_000 else f"{value:g}"
