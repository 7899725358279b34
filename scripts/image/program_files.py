"""Reads the program's files into the page cache while it starts. On a cold disk, Python would wait for each by itself.

    program_files.py list FILE    starts the worker, and writes down which parts of which files that needed
    program_files.py read FILE    reads these parts, in the order of that start

The image lists them when it is built, and its entry point reads them in a process of its own beside the worker. Reading
uses nothing but Python's own library.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

_PAGE = 4096
_PIECE = 4 << 20
_GAP = 256 << 10  # Parts with less than this between them are read as one.
_THREADS = 16  # A disk in a data centre answers many requests at once.
Part = tuple[str, int, int]
"""A file's path, an offset and a length, in bytes."""


def main(arguments: list[str]) -> int:
    """Run the command. Returns the exit code."""
    match arguments:
        case ["list", file]:
            from worker.cli.check.timings import check_timings

            check_timings()
            Path(file).write_text(json.dumps(list(used_parts())), encoding="utf-8")
            return 0
        case ["read", file]:
            try:
                parts = json.loads(Path(file).read_text(encoding="utf-8"))
            except (OSError, ValueError):  # An image on top of this one may have removed it.
                return 1
            read(parts)
            return 0
        case _:
            print(__doc__, file=sys.stderr)
            return 2


def used_parts() -> Iterator[Part]:
    """What this process has used of files: modules, in the order of their import, and of libraries the pages."""
    libraries, listed = dict(_mapped()), set()
    for module in list(sys.modules.values()):
        spec = getattr(module, "__spec__", None)
        for folder in getattr(spec, "submodule_search_locations", None) or ():  # torch's libraries are no modules.
            for path in [path for path in libraries if path.startswith(f"{folder}{os.sep}")]:
                yield from libraries.pop(path)
        files = (getattr(spec, "cached", None), getattr(spec, "origin", None))
        file = next((path for path in files if path and path not in listed and Path(path).is_file()), None)
        if file is not None and not file.endswith(".so"):
            listed.add(file)
            yield file, 0, Path(file).stat().st_size
    for parts in libraries.values():
        yield from parts


def _mapped() -> Iterator[tuple[str, list[Part]]]:
    """Each file that is mapped into this process, with the parts whose pages it holds."""
    pages: dict[str, set[int]] = {}
    with open("/proc/self/pagemap", "rb", buffering=0) as pagemap:  # noqa: PTH123 - unbuffered.
        for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines():
            addresses, _, offset, _, inode, *path = line.split(maxsplit=5)
            if inode == "0" or not path or not Path(path[0]).is_file():
                continue
            begin, end = (int(address, 16) // _PAGE for address in addresses.split("-"))
            pagemap.seek(begin * 8)
            entries = memoryview(pagemap.read((end - begin) * 8)).cast("Q")
            first = int(offset, 16) // _PAGE
            pages.setdefault(path[0], set()).update(first + i for i, entry in enumerate(entries) if entry >> 63)
    for path_, held in pages.items():
        yield path_, [(path_, start, length) for start, length in _joined(sorted(held))]


def _joined(pages: list[int]) -> Iterator[tuple[int, int]]:
    """Offset and length of the parts that sorted ``pages`` make, without small gaps."""
    start = end = None
    for page in pages:
        if start is None or end is None:
            start, end = page, page + 1
        elif (page - end) * _PAGE <= _GAP:
            end = page + 1
        else:
            yield start * _PAGE, (end - start) * _PAGE
            start, end = page, page + 1
    if start is not None and end is not None:
        yield start * _PAGE, (end - start) * _PAGE


def read(parts: list[Part]) -> None:
    """Read ``parts`` into the page cache, in their order, several at a time. Those that cannot be read are left out."""
    pieces, lock = iter(list(_pieces(parts))), threading.Lock()

    def work() -> None:
        with open(os.devnull, "wb", buffering=0) as nowhere:  # noqa: PTH123 - unbuffered.
            while True:
                with lock:
                    piece = next(pieces, None)
                if piece is None:
                    return
                with contextlib.suppress(OSError):
                    _read_piece(nowhere.fileno(), *piece)

    threads = [threading.Thread(target=work) for _ in range(_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def _pieces(parts: list[Part]) -> Iterator[Part]:
    for path, start, length in parts:
        for offset in range(start, start + length, _PIECE):
            yield path, offset, min(_PIECE, start + length - offset)


def _read_piece(nowhere: int, path: str, offset: int, length: int) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if all(_is_cached(file, at) for at in (offset, offset + length - 1)):
            return
        while length > 0:
            count = os.sendfile(nowhere, file, offset, length)
            if not count:
                break
            offset, length = offset + count, length - count
    finally:
        os.close(file)


def _is_cached(file: int, offset: int) -> bool:
    """Whether the page at ``offset`` can be read without waiting."""
    try:
        return bool(os.preadv(file, [bytearray(1)], offset, os.RWF_NOWAIT))
    except OSError:  # It is not there, or the file system does not tell.
        return False


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
