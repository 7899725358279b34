"""Writes the generated pages of docs/ from the worker's own code and from the texts in docs/source/."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from api_page import api_pages
from command_line import ExitCode, fail, finish
from configuration_page import configuration_pages
from docs_source import PROJECT, DocsProblem

_EPILOG = """\
examples:
  scripts/make_docs            write docs/configuration.md, docs/id/configuration.md, docs/api.md and docs/openapi.json
  scripts/make_docs --check    write nothing; say which of them are stale

exit codes: 0 everything is as it should be; 1 a page is stale, or a text or a translation is missing, and which;
2 the command line is wrong
"""


def main() -> int:
    """Write or check the pages. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/make_docs",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a page is stale")
    options = parser.parse_args()
    return finish("make_docs", lambda: make(check=options.check))


def make(*, check: bool) -> ExitCode:
    """Write the pages that have changed. With ``check``, write nothing and report which pages are stale."""
    problems: list[str] = []
    pages: dict[Path, str] = {}
    for make in (configuration_pages, api_pages):
        try:
            pages |= make()
        except DocsProblem as problem:
            problems += problem.lines
    stale = {path: text for path, text in pages.items() if not path.exists() or path.read_text("utf-8") != text}
    if check:
        problems += [f"{path.relative_to(PROJECT)} is stale: run scripts/make_docs" for path in stale]
    else:
        write(stale)
    for line in problems:
        fail("make_docs", line)
    return ExitCode.FAILED if problems else ExitCode.OK


def write(pages: dict[Path, str]) -> None:
    """Write each text to its path, and print the path."""
    for path, text in pages.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"wrote {path.relative_to(PROJECT)}")


if __name__ == "__main__":
    sys.exit(main())
