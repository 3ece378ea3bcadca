"""YAML and JSON from strangers into plain values, within limits and without any of YAML's powers. Pure.

No alias, anchor, tag or merge; no key twice; one document. Every scalar is text, except plain `true`, `false` and
`null`: so a token that looks like a number stays what it is. Events come from libyaml one by one, so that a bomb is
refused while it is read (security.md S54, S55).
"""

from typing import Final

import yaml

LARGEST_BYTES: Final = 2**20
DEEPEST: Final = 64
MOST_NODES: Final = 100_000

Value = bool | str | list["Value"] | dict[str, "Value"] | None
_PLAIN: Final[dict[str, bool | None]] = {"": None, "null": None, "~": None, "true": True, "false": False}


class DocumentError(ValueError):
    """It cannot be read; the message says where and why and repeats nothing of what it holds but names of keys."""


def read(text: bytes | str) -> Value:
    """The one document in `text`. Raises `DocumentError`."""
    raw = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
    if len(raw) > LARGEST_BYTES:
        raise DocumentError(f"It has {len(raw):,} bytes; at most {LARGEST_BYTES:,} are read.")
    builder = _Builder()
    try:
        for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
            builder.take(event)
    except yaml.YAMLError as error:
        raise DocumentError(f"It is neither YAML nor JSON{_place(error)}.") from None
    except UnicodeError:
        raise DocumentError("It is not UTF-8 text.") from None
    return builder.result


class _Builder:
    """Values from events, with an explicit stack."""

    def __init__(self) -> None:
        self.result: Value = None
        self._stack: list[list[Value] | dict[str, Value]] = []
        self._keys: list[str | None] = []
        self._nodes = 0
        self._documents = 0

    def take(self, event: yaml.Event) -> None:
        match event:
            case yaml.DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise DocumentError(f"A second document begins{_at(event)}; give one.")
            case yaml.AliasEvent():
                raise DocumentError(f"It uses an alias (*{_at(event)}). Write the value itself there.")
            case yaml.ScalarEvent():
                self._scalar(event)
            case yaml.SequenceStartEvent():
                self._open(event, [])
            case yaml.MappingStartEvent():
                self._open(event, {})
            case yaml.SequenceEndEvent() | yaml.MappingEndEvent():
                self._stack.pop()
                self._keys.pop()

    def _open(self, event: yaml.NodeEvent, opened: list[Value] | dict[str, Value]) -> None:
        self._check(event)
        if len(self._stack) >= DEEPEST:
            raise DocumentError(f"It is nested deeper than {DEEPEST} levels{_at(event)}.")
        self._put(event, opened)
        self._stack.append(opened)
        self._keys.append(None)

    def _scalar(self, event: yaml.ScalarEvent) -> None:
        self._check(event)
        if self._stack and isinstance(self._stack[-1], dict) and self._keys[-1] is None:
            self._keys[-1] = event.value
            return
        is_plain = event.style in {None, ""} and event.implicit[0]
        self._put(event, _PLAIN.get(event.value, event.value) if is_plain else event.value)

    def _check(self, event: yaml.NodeEvent) -> None:
        self._nodes += 1
        if self._nodes > MOST_NODES:
            raise DocumentError(f"It holds more than {MOST_NODES:,} values.")
        if event.anchor is not None:
            raise DocumentError(f"It uses an anchor (&{_at(event)}). Write the value itself wherever it is needed.")
        if getattr(event, "tag", None) is not None:
            raise DocumentError(f"It uses a tag (!{_at(event)}), which is not read.")

    def _put(self, event: yaml.NodeEvent, value: Value) -> None:
        if not self._stack:
            self.result = value
            return
        parent = self._stack[-1]
        if isinstance(parent, list):
            parent.append(value)
            return
        key, self._keys[-1] = self._keys[-1], None
        if key is None:
            raise DocumentError(f"A key is a list or a mapping{_at(event)}; keys are words.")
        if key in parent:
            raise DocumentError(f'The key "{key[:60]}" is given twice{_at(event)}.')
        parent[key] = value


def _at(event: yaml.Event) -> str:
    return f" in line {event.start_mark.line + 1}" if event.start_mark is not None else ""


def _place(error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    return f", line {mark.line + 1}" if mark is not None else ""
