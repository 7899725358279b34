"""What a node class declares of its inputs and outputs, read from ComfyUI's ``/object_info``.

An input is declared as ``[type, options]``. The type of a combo is ``"COMBO"`` with the choices among the options, or
the list of choices itself. ``input_order`` has the order in which the editor lays the inputs out; the required ones
come first.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from worker.protocol.installed import combo_choices

# The editor draws these for some classes, after what the class declares.
_WITH_A_PLAYER = frozenset({
    "LoadAudio", "SaveAudio", "PreviewAudio", "SaveAudioMP3", "SaveAudioOpus", "SaveAudioAdvanced",
})  # fmt: skip
_UPLOADS = ("image_upload", "animated_image_upload", "video_upload")


@dataclass(frozen=True, slots=True)
class Spec:
    """One declared input.

    ``choices``: those of a combo, otherwise empty. ``is_listed``: whether the choices stand in the place of the type.
    """

    name: str
    type: str
    options: Mapping[str, Any]
    choices: tuple[Any, ...] = ()
    is_optional: bool = False
    is_listed: bool = False

    @property
    def widget_type(self) -> str:
        """The kind of widget that the editor draws for it, if it knows one of that name."""
        return str(self.options.get("widgetType") or self.type)

    @property
    def is_only_input(self) -> bool:
        """Whether it has no widget though its type would have one."""
        return bool(self.options.get("forceInput"))

    def named(self, name: str, *, is_optional: bool | None = None) -> Spec:
        """The same declaration for an input of another name."""
        return replace(self, name=name, is_optional=self.is_optional if is_optional is None else is_optional)


def spec_of(name: str, config: Any, *, is_optional: bool = False) -> Spec:
    """Read ``[type, options]``."""
    kind = config[0] if isinstance(config, list) and config else "*"
    options = config[1] if isinstance(config, list) and len(config) > 1 else {}
    options = options if isinstance(options, Mapping) else {}
    is_combo = isinstance(kind, list) or kind == "COMBO"
    choices = tuple(combo_choices(config)) if is_combo else ()
    return Spec(name, "COMBO" if is_combo else str(kind), options, choices, is_optional, isinstance(kind, list))


def specs_of(inputs: Mapping[str, Any] | None) -> Iterator[Spec]:
    """The inputs of ``{"required": {name: config}, "optional": …}``, as a class or a choice of a combo has them."""
    for section in ("required", "optional"):
        for name, config in ((inputs or {}).get(section) or {}).items():
            yield spec_of(name, config, is_optional=section == "optional")


@dataclass(frozen=True, slots=True)
class Definition:
    """A node class. ``inputs``: in the order of the editor's layout. ``as_declared``: in that of the class."""

    name: str
    title: str
    inputs: tuple[Spec, ...]
    as_declared: tuple[Spec, ...]
    outputs: tuple[str, ...]
    is_of_pack: bool


class Definitions:
    """The definitions of node classes, each read when it is first asked for.

    Args:
        info: the entry of a class in ``/object_info``; None for a class that is not there.
        why_missing: why a class is not there.
    """

    def __init__(
        self,
        info: Callable[[str], Mapping[str, Any] | None],
        why_missing: Callable[[str], str | None] = lambda _: "this node class is not installed",
    ) -> None:
        self._info = info
        self._why_missing = why_missing
        self._read: dict[str, Definition | None] = {}

    def find(self, class_type: str) -> Definition | None:
        """The definition of a class; None if ComfyUI does not have it."""
        if class_type not in self._read:
            info = self._info(class_type)
            self._read[class_type] = _definition(class_type, info) if info else None
        return self._read[class_type]

    def why_missing(self, class_type: str) -> str:
        """Why ComfyUI does not have a class."""
        return self._why_missing(class_type) or "this node class does not tell what it takes"


def _definition(name: str, info: Mapping[str, Any]) -> Definition:
    declared = tuple(specs_of(info.get("input")))
    by_name = {spec.name: spec for spec in (*declared, *_drawn(name, declared))}
    order = info.get("input_order") or {}
    ordered = {
        wanted: by_name[wanted]
        for section in ("required", "optional")
        for wanted in order.get(section) or ()
        if wanted in by_name and by_name[wanted].is_optional == (section == "optional")
    }
    required = {spec.name: spec for spec in by_name.values() if not spec.is_optional}
    rest = by_name if order else {**required, **by_name}
    return Definition(
        name=name,
        title=str(info.get("display_name") or name),
        inputs=tuple({**ordered, **rest}.values()),
        as_declared=declared,
        outputs=tuple("COMBO" if isinstance(kind, list) else str(kind) for kind in info.get("output") or ()),
        is_of_pack=str(info.get("python_module", "")).startswith("custom_nodes"),
    )


def _drawn(name: str, declared: tuple[Spec, ...]) -> Iterator[Spec]:
    """Widgets of the editor alone: the player of a sound, and the button that uploads a file."""
    required = [spec for spec in declared if not spec.is_optional]
    if name in _WITH_A_PLAYER:
        yield Spec("audioUI", "AUDIO_UI", {})
    for spec in required:
        if spec.name == "audio" and spec.options.get("audio_upload") is True:
            yield Spec("upload", "AUDIOUPLOAD", {})
        elif spec.type == "COMBO" and any(spec.options.get(key) is True for key in _UPLOADS):
            yield Spec("upload", "IMAGEUPLOAD", {})
            break
