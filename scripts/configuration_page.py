"""Makes docs/configuration.md and its Indonesian translation from ``worker/settings/``."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from docs_source import PROJECT, SOURCE, DocsProblem, fill, shown, table

from worker.settings import Settings

_PLATFORM = "Set by the platform"
_CATALOGUE, _TRANSLATIONS = "configuration.toml", "configuration.id.toml"
_PAGE, _PAGE_ID = "configuration.md", "configuration.id.md"
_HEADERS = {
    "en": ("Environment Variable", "Description", "Takes", "Default", "Example"),
    "id": ("Variabel Lingkungan", "Deskripsi", "Nilai", "Default", "Contoh"),
}


@dataclass(frozen=True)
class Variable:
    """An environment variable as a page shows it. ``text``: its whole description. ``default``: in Markdown."""

    name: str
    group: str
    takes: str
    text: str
    default: str
    example: str

    @property
    def description(self) -> str:
        """What the variable is for, without the sentence about its default."""
        return self.text.partition(" Default: ")[0]

    def row(self) -> tuple[str, ...]:
        """The cells of its row, in the order of the header."""
        if self.group == "platform":
            return f"`{self.name}`", self.description
        told = self.text.partition(" Default: ")[2].rstrip(".")  # Words instead of a value, if the default varies.
        return f"`{self.name}`", self.description, self.takes, told or self.default, f"`{self.example}`"


def configuration_pages() -> dict[Path, str]:
    """The text of each page, by its path.

    Raises:
        DocsProblem: a variable has no group, no example or no translation. The lines name each one.
    """
    variables = read_variables(read_toml(_CATALOGUE))
    translated = translate(variables, read_toml(_TRANSLATIONS))
    return {
        PROJECT / "docs" / "configuration.md": _page(_PAGE, "en", variables),
        PROJECT / "docs" / "id" / "configuration.md": _page(_PAGE_ID, "id", translated),
    }


def read_toml(name: str) -> dict[str, Any]:
    """The content of a TOML file in docs/source/."""
    return tomllib.loads((SOURCE / name).read_text("utf-8"))


def read_variables(catalogue: Mapping[str, Mapping[str, str]]) -> list[Variable]:
    """Every variable of the settings, in the order of ``catalogue``: ``{group: {variable: example}}``.

    Raises:
        DocsProblem: the settings and ``catalogue`` do not have the same variables.
    """
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    platform = {name: "" for name, field in fields.items() if (field.description or "").startswith(_PLATFORM)}
    groups = {**catalogue, "platform": platform}
    listed = [(name, group, example) for group, examples in groups.items() for name, example in examples.items()]
    lines = [
        f"docs/source/{_CATALOGUE}: {name} is in no group; give it one, with an example"
        for name in fields.keys() - {name for name, _, _ in listed}
    ]
    lines += [f"docs/source/{_CATALOGUE}: {name} is no setting" for name, _, _ in listed if name not in fields]
    if lines:
        raise DocsProblem(sorted(lines))
    return [_variable(name, group, example, fields[name]) for name, group, example in listed]


def _variable(name: str, group: str, example: str, field: Any) -> Variable:
    takes = str(field.json_schema_extra["takes"])
    default = "–" if field.default in (None, ()) else shown(field.default)
    return Variable(name, group, takes, field.description, default, example)


def translate(variables: list[Variable], translations: Mapping[str, Any]) -> list[Variable]:
    """The same variables in Indonesian.

    Args:
        variables: the variables in English.
        translations: ``{"page": hash, "takes": {English: Indonesian}, variable: {"en", "id"}}``.

    Raises:
        DocsProblem: a text is not translated, or was translated from another text. The lines name each one.
    """
    lines = [*_old_translations(variables, translations)]
    if lines:
        raise DocsProblem(f"docs/source/{_TRANSLATIONS}: {line}" for line in lines)
    return [
        replace(variable, takes=translations["takes"][variable.takes], text=translations[variable.name]["id"])
        for variable in variables
    ]


def _old_translations(variables: list[Variable], translations: Mapping[str, Any]) -> Iterator[str]:
    for variable in variables:
        given = translations.get(variable.name)
        if given is None:
            yield f"{variable.name} is not translated: {variable.text!r}"
        elif given["en"] != variable.text:
            yield f"{variable.name} was translated from another text; translate this one: {variable.text!r}"
    takes = {variable.takes for variable in variables}
    yield from (f"[takes] {text!r} is not translated" for text in sorted(takes - set(translations["takes"])))
    yield from (f"[takes] {text!r} is used by no setting" for text in sorted(set(translations["takes"]) - takes))
    known = {"page", "takes", *(variable.name for variable in variables)}
    yield from (f"{name} is no setting" for name in translations if name not in known)
    digest = hashlib.sha256((SOURCE / _PAGE).read_bytes()).hexdigest()[:16]
    if translations["page"] != digest:
        yield f"{_PAGE} has changed: bring {_PAGE_ID} up to date, then set page = {digest!r}"


def _page(template: str, language: str, variables: list[Variable]) -> str:
    header = _HEADERS[language]
    groups = dict.fromkeys(variable.group for variable in variables)
    tables = {
        group: table(header[: len(rows[0])], rows)
        for group in groups
        if (rows := [variable.row() for variable in variables if variable.group == group])
    }
    return fill(template, tables, "worker/settings/")
