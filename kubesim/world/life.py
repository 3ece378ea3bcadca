"""A cluster that lives: built at once in its settled state, then driven by timers, controllers, incidents and load."""

import asyncio
import random
import traceback
from collections.abc import Callable
from typing import Any, Final

from kubesim import defaults
from kubesim.clock import Past, micro_stamp, stamp
from kubesim.store import Change, Store
from kubesim.world import company, extras, nodes, ownership
from kubesim.world.controllers import Controllers
from kubesim.world.events import Recorder
from kubesim.world.incidents import Incidents
from kubesim.world.kubelet import SLOTS, Kubelet, wanted_node
from kubesim.world.timers import Timers

Object = dict[str, Any]
TURN_S: Final = 0.05
WORK_PER_TURN: Final = 2_000
BEAT_S: Final = 10.0
YOUNGEST_S: Final = 3_600.0
OLDEST_S: Final = 40 * 86_400.0


class World:
    """What goes on in one cluster. pods: about how many; changes_per_s: load beside what happens anyway.

    troubled: whether troubles come often; None is no incident at all.
    """

    def __init__(
        self, store: Store, *, name: str, seed: int, pods: int, changes_per_s: float, minor: int, troubled: bool | None
    ) -> None:
        self.store = store
        self.name = name
        self._rng = random.Random(f"{seed} {name}")
        self._timers = Timers()
        self._recorder = Recorder(store)
        self._controllers = Controllers(store, self._recorder, self._pick_node)
        self._incidents = Incidents(store, self._timers, self._controllers, self._rng, troubled=bool(troubled))
        self._kubelet = Kubelet(store, self._timers, self._recorder, self._incidents.behaviour)
        self._incidents.kubelet = self._kubelet
        self._changes_per_s = changes_per_s
        self._owed = 0.0
        self._counter = 0
        self._build(pods, minor)
        store.on_change(self._changed)
        if troubled is not None:
            self._incidents.begin()
        self._timers.at(store.clock.now() + 1.0, self._minute)
        for node in store.list("nodes"):
            self._timers.at(store.clock.now() + self._rng.uniform(0, BEAT_S), self._beater(node["metadata"]["name"]))

    async def run(self) -> None:
        """Live for ever; ends by cancellation."""
        last = self.store.clock.now()
        while True:
            await asyncio.sleep(TURN_S)
            now = self.store.clock.now()
            try:
                self.step(now - last)
            except Exception:  # noqa: BLE001 - one cluster's mishap must not end the others; it is told and the rest goes on
                traceback.print_exc()
            last = now

    def step(self, elapsed_s: float) -> None:
        """Do what is due now; `elapsed_s` since the step before decides how much load is owed."""
        for work in self._timers.due(self.store.clock.now(), WORK_PER_TURN):
            work()
        self._controllers.drain()
        self._owed = min(self._owed + elapsed_s * self._changes_per_s, self._changes_per_s)
        while self._owed >= 1:
            self._owed -= 1
            self._touch()

    def _changed(self, change: Change) -> None:
        self._controllers.changed(change)
        if change.kind.key == "pods":
            self._kubelet.changed(change)

    def _pick_node(self) -> str | None:
        return self._kubelet.pick()

    def _beater(self, name: str) -> Callable[[], None]:
        def beat() -> None:
            if name not in self._kubelet.lost:
                nodes.beat(self.store, name)
            self._timers.at(self.store.clock.now() + BEAT_S, beat)

        return beat

    def _minute(self) -> None:
        extras.run_due(self.store)
        now = self.store.clock.now()
        self._timers.at(now + 60.0 - now % 60.0, self._minute)

    def _touch(self) -> None:
        """One realistic small change of one object: what keeps real clusters busy between the incidents."""
        objects = self.store.resource("pods").objects
        if not objects:
            return
        self._counter += 1
        places = self._places
        if self._counter % 1024 == 1 or not places:
            places[:] = list(objects)
        entry = objects.get(self._rng.choice(places))
        if entry is None or "deletionTimestamp" in entry.object["metadata"]:
            return
        pod = entry.object
        notes = {**pod["metadata"].get("annotations", {})}
        notes["autoscaling.example.com/last-sample"] = micro_stamp(self.store.clock.now())
        self.store.annotate("pods", pod, annotations=notes)

    # -- building ----------------------------------------------------------------------------------------------------

    def _build(self, pods: int, minor: int) -> None:
        store, clock = self.store, self.store.clock
        store.clock = Past(clock, OLDEST_S)
        now = stamp(store.clock.now())
        self._places: list[tuple[str, str]] = []
        count = max(3, -(-pods * 5 // (4 * SLOTS)) + 1)
        found = company.services(self._rng, pods, count)
        system = {"default", "kube-system", "kube-public", "kube-node-lease"}
        for namespace in sorted({s.team for s in found} | system):
            obj: Object = {"metadata": {"name": namespace}}
            defaults.namespace(obj, store)
            store.create("namespaces", obj)
        for key, obj in company.access():
            store.create(key, obj)
        for number in range(count):
            store.create("nodes", company.node(number, minor, now))
        created: list[Object] = []
        note = lambda change: created.append(change.entry.object) if _is_new_pod(change) else None  # noqa: E731
        store.on_change(self._controllers.changed)
        store.on_change(note)
        for service in found:
            store.clock = Past(clock, self._rng.uniform(YOUNGEST_S, OLDEST_S))
            self._build_service(service)
            for _ in range(4):  # deployments make sets, sets make pods, pods make statuses
                self._controllers.drain()
                self._settle(created)
                created.clear()
        extras.build(store)
        store.clock = clock
        store.forget(note)
        store.forget(self._controllers.changed)  # from now on by `_changed`

    def _build_service(self, service: company.Service) -> None:
        for key, obj in (("services", company.network(service)), ("configmaps", company.config(service))):
            defaults.apply(self.store.resource(key).kind, obj, self.store)
            self.store.create(key, obj)
        workload = company.workload(service)
        workload["metadata"]["managedFields"] = ownership.of_workload(workload, stamp(self.store.clock.now()))
        defaults.apply(self.store.resource(service.kind).kind, workload, self.store)
        if service.kind == "statefulsets.apps":
            workload["spec"]["podManagementPolicy"] = "Parallel"
        self.store.create(service.kind, workload)

    def _settle(self, created: list[Object]) -> None:
        """Make pods run at once."""
        for pod in created:
            if pod["spec"].get("nodeName"):
                continue
            node = wanted_node(pod) or self._kubelet.pick()
            if node is None:
                continue
            bound = self.store.change("pods", pod, spec={**pod["spec"], "nodeName": node})
            self._kubelet.adopt(bound)
            self.store.change("pods", bound, status=self._kubelet.settle(bound))


def _is_new_pod(change: Change) -> bool:
    return change.kind.key == "pods" and change.type == "ADDED"
