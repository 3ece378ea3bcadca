"""Events in the components' words; a repeated one counts up instead of being written anew, as a recorder does."""

import collections
from typing import Any, Final

from kubesim.clock import micro_stamp, stamp
from kubesim.store import Store

Object = dict[str, Any]
KEPT: Final = 2_000  # a real server keeps them for an hour; the oldest go first


class Recorder:
    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: dict[tuple[str, str, str], tuple[str, str]] = {}
        self._order: collections.deque[tuple[str, str]] = collections.deque()

    def say(self, about: Object, reason: str, message: str, *, component: str, warning: bool = False) -> None:
        """One event about an object; `component` is e.g. "kubelet"."""
        meta = about["metadata"]
        now = self._store.clock.now()
        key = (meta["uid"], reason, message)
        namespace = meta.get("namespace") or "default"
        if (place := self._known.get(key)) and (old := self._store.find("events", *place)):
            again = {**old, "metadata": dict(old["metadata"]), "count": old["count"] + 1, "lastTimestamp": stamp(now)}
            self._store.replace("events", again)
            return
        name = f"{meta['name']}.{self._store.rng.getrandbits(64):016x}"
        involved = {
            "kind": about["kind"],
            "namespace": meta.get("namespace", ""),
            "name": meta["name"],
            "uid": meta["uid"],
            "apiVersion": about["apiVersion"],
            "resourceVersion": meta["resourceVersion"],
        }
        self._store.create(
            "events",
            {
                "metadata": {"name": name, "namespace": namespace},
                "involvedObject": involved,
                "reason": reason,
                "message": message,
                "source": {"component": component},
                "firstTimestamp": stamp(now),
                "lastTimestamp": stamp(now),
                "count": 1,
                "type": "Warning" if warning else "Normal",
                "eventTime": None if component != "default-scheduler" else micro_stamp(now),
                "reportingComponent": component,
                "reportingInstance": "",
            },
        )
        self._known[key] = (namespace, name)
        self._order.append((namespace, name))
        if len(self._order) > KEPT:
            old_place = self._order.popleft()
            if self._store.find("events", *old_place):
                self._store.delete("events", *old_place, grace_s=0)
        if len(self._known) > 2 * KEPT:
            self._known = dict(list(self._known.items())[KEPT:])
