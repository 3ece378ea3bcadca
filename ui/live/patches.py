"""Patches as bytes on the wire, and the ring that replays them. Pure.

The only module that knows how the browser applies a patch (htmx's `<hx-partial>`), so that it can be replaced.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

import msgspec

RING: Final = 64  # patches; at four a second that is 16 s of absence, longer ones get the page's parts whole
PING: Final = b": ping\n\n"


class Parts(msgspec.Struct, frozen=True):
    """A view rendered: HTML by element id.

    leaves: elements that change by themselves. whole: the regions around them, sent when elements came, went or moved,
    and when a viewer was away for too long.
    """

    leaves: Mapping[str, str]
    whole: Mapping[str, str]


def render_patch(view: str, target: str, html: str) -> str:
    """HTML that replaces what is in the element with id `target` of the page `view`."""
    del view  # every page has one document; the name is for whatever replaces htmx
    return f'<hx-partial hx-target="#{escape(target)}" hx-swap="innerMorph">{html}</hx-partial>'


def changes(view: str, before: Parts | None, after: Parts) -> str:
    """The patches that make a page of `before` one of `after`; "" when nothing changed."""
    if before is None or list(before.leaves) != list(after.leaves):
        return whole(view, after)
    return "".join(
        render_patch(view, target, html) for target, html in after.leaves.items() if before.leaves[target] != html
    )


def whole(view: str, parts: Parts) -> str:
    """All regions of the page anew."""
    return "".join(render_patch(view, target, html) for target, html in parts.whole.items())


def message(identifier: str, html: str) -> bytes:
    """One server-sent event."""
    lines = html.splitlines() or [""]
    return "".join([f"id: {identifier}\n", *(f"data: {line}\n" for line in lines), "\n"]).encode()


class Ring:
    """The newest messages of one view, numbered 1, 2, 3 … within an epoch."""

    def __init__(self, epoch: str) -> None:
        self.epoch = epoch
        self.newest = 0
        self._messages: deque[bytes] = deque(maxlen=RING)

    def add(self, html: str) -> None:
        self.newest += 1
        self._messages.append(message(self.identifier(), html))

    def identifier(self) -> str:
        """What names the state after the newest message."""
        return f"{self.epoch}-{self.newest}"

    def position(self, identifier: str) -> int | None:
        """Where a viewer with that last id goes on; None when it has to be given everything."""
        epoch, _, number = identifier.rpartition("-")
        if epoch != self.epoch or not (number.isascii() and number.isdecimal() and len(number) < 16):
            return None
        seen = int(number)
        return seen if self.newest - len(self._messages) <= seen <= self.newest else None

    def after(self, seen: int) -> Sequence[bytes] | None:
        """The messages after `seen`; None when some of them are gone."""
        missing = self.newest - seen
        if missing > len(self._messages):
            return None
        if missing == 1:
            return (self._messages[-1],)
        return [self._messages[i] for i in range(len(self._messages) - missing, len(self._messages))]
