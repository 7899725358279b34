"""docs/troubleshooting.md has each text that a caller or operator can see, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from visible_texts import visible_texts

# Texts of the worker's code that nobody sees, or that another page shows.
ON_OTHER_PAGES = {
    "worker/local_api/answers.py": "docs/api.md",
    "worker/local_api/schema.py": "docs/api.md",
    "worker/cli/options.py": "--help",
    "worker/cli/prepare/options.py": "--help",
    "worker/cli/index/options.py": "--help",
    **{
        f"worker/embedded/deferred/packs/observed/{name}.py": "docs/custom-nodes.md"
        for name in ("backwards", "effects", "files", "frozen", "lookups", "namespaces", "observer", "owner", "process")
    },
    "worker/answer/rich_display.py": "docs/python.md",
    "worker/progress/notebook.py": "docs/python.md",
    "worker/metrics/page.py": "docs/metrics.md",
    "worker/cli/metrics_table.py": "docs/metrics.md",
    "worker/receipt/shape.py": "docs/api.md",
    "worker/workflows/shape.py": "docs/api.md",
    "worker/page/files.py": "docs/page.md",
}
MARKS_IN_ERRORS_OF_OTHERS = {
    "out of memory", "can't allocate memory", "cannot allocate memory", "not enough memory",
    "would exceed allowed memory", "main.py: error:", "mode == 'I'",
}  # fmt: skip
NAMES = {
    "Google Cloud Storage", "DigitalOcean Spaces", "RunPod network volume", "Alibaba Cloud OSS", "Tencent COS",
    "Huawei OBS", "Volcengine TOS", "Baidu BOS", "IBM Cloud", "Oracle Cloud", "Yandex Cloud", "Impossible Cloud",
    "packaged copy", "POST /upload", "POST /prompt", "Key prefix", "Node name for S&R",
    "Base directory", "Network volume", "State folder", "RAM there", "Read from", "Node pack", "Node classes:",
    "easy getNode", "easy setNode", "upload 3d model", "upload extra resources",
    "…, a server at …", "…, … free of …", "… free of …", "…(not set)…",
}  # fmt: skip
API_DESCRIPTION = {
    "RunPod's endpoint API, served by the worker itself on this machine. Every path also answers under `/v2/…` and",
    "`/…`, whatever the endpoint's id, so that RunPod's own clients need only another base URL.",
}
PIECES = {
    "the file", "The file", "The job", "an object", "an error", "another value", ": step … of …", "no key", "left out",
    "text/plain; charset=utf-8",
    "content-type: application/json", "content-length: …", "connection: close", "%(levelname)s %(message)s",
}  # fmt: skip
ENDINGS_OF_OTHER_TEXTS = {
    "not a boolean",
    "not a choice of nodes",
    "not a folder below another",
    "not an address",
    "not a path",
    "not a source",
    "not an interval",
    "not a host",
}  # pydantic drops them.
NOT_SHOWN = MARKS_IN_ERRORS_OF_OTHERS | NAMES | PIECES | API_DESCRIPTION | ENDINGS_OF_OTHER_TEXTS
# Names of node classes of the editor and of packs.
RANGES, EDITORS_NODES = "worker/public_addresses.py", "worker/protocol/missing_classes.py"


def shown_texts(worker: Path) -> dict[str, str]:
    """The texts of the code that the page must have, each with its place."""
    return {
        text: place
        for text, place in visible_texts(worker).items()
        if (file := place.rpartition(":")[0]) not in ON_OTHER_PAGES or text.endswith("it takes 0 to 65535")
        if text not in NOT_SHOWN
        if file != RANGES or text.startswith("its host")
        if file not in (EDITORS_NODES, "worker/convert/node/own_widgets.py") or not text.endswith("(rgthree)")
        if file != "worker/convert/node/fit.py" or "Everywhere" not in text
    }


def explained_texts(page: str) -> list[str]:
    """The texts in the first column of the page's tables."""
    rows = [line.split(" | ")[0] for line in page.split("## The request")[1].splitlines() if line.startswith("| `")]
    return [text for row in rows for text in re.findall(r"`([^`]+)`", row)]


def test_each_text_is_explained(project: Path) -> None:
    """If this fails: add the text to the table of the place where it is seen, with what to do about it."""
    explained = explained_texts((project / "docs" / "troubleshooting.md").read_text("utf-8"))
    shown = shown_texts(project / "worker")
    assert len(shown) > 350
    assert {text: place for text, place in shown.items() if text not in explained} == {}
    known = visible_texts(project / "worker", fewest_words=1)
    assert [text for text in explained if text not in known] == [], "the page has texts that the code does not have"
    assert sorted({text for text in explained if explained.count(text) > 1}) == []


def test_what_is_not_shown_is_in_the_code(project: Path) -> None:
    assert sorted(NOT_SHOWN - set(visible_texts(project / "worker"))) == []


def test_a_new_text_is_found_wherever_it_stands(tmp_path: Path) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "new.py").write_text(
        '''"""A docstring is not shown."""
import re
PATTERN = re.compile("an expression is not shown")
TABLE = {"key": "a text in a table"}
def work(log, error, parser, names):
    """Nor is this one."""
    parser.add_argument("--flag", help="help is not shown here")
    log.warning("a line of %d words in the %s", 1, "log itself")
    if names:
        raise ValueError(f"a value of {error!r} in {', '.join(names) or 'no name at all'}")
    return "two pieces " + error + (" of one text" if error else " and no more")
'''
    )
    assert set(visible_texts(tmp_path / "worker")) == {
        "a text in a table", "a line of … words in the …", "log itself", "a value of … in …", "no name at all",
        "two pieces …", "of one text", "and no more",
    }  # fmt: skip
