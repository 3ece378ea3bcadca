"""What goes wrong, and heals: seeded troubles of single workloads and nodes, and the harmless changes beside them."""

import random
from collections.abc import Callable
from typing import Any, Final

from kubesim.store import Store, deep
from kubesim.world.controllers import Controllers
from kubesim.world.kubelet import HEALTHY, Behaviour, Kubelet
from kubesim.world.timers import Timers

Object = dict[str, Any]
CRASH: Final = Behaviour(
    exit_code=1,
    message="INFO  starting\nERROR connection refused: port 5432\nFATAL giving up after 3 attempts\n",
)
OOM: Final = Behaviour(exit_code=137, reason="OOMKilled", life_s=20.0)
UNREADY: Final = Behaviour(ready=False)
TASK: Final = Behaviour(exit_code=0, life_s=6.0)
TOO_LARGE: Final = Behaviour(fits=False)


class Incidents:
    """Starts troubles by itself, at seeded times; each heals after a while."""

    def __init__(
        self, store: Store, timers: Timers, controllers: Controllers, rng: random.Random, *, troubled: bool
    ) -> None:
        self.kubelet: Kubelet | None = None
        self._store = store
        self._timers = timers
        self._controllers = controllers
        self._rng = rng
        self._troubled = troubled
        self._behaviours: dict[tuple[str, str], Behaviour] = {}
        self._bad_images: set[str] = set()

    def behaviour(self, pod: Object) -> Behaviour:
        """How the containers of a pod behave now."""
        if pod["spec"]["containers"][0]["image"] in self._bad_images:
            return Behaviour(pull=False)
        meta = pod["metadata"]
        if any(owner["kind"] == "Job" for owner in meta.get("ownerReferences") or ()):
            return TASK
        return self._behaviours.get((meta["namespace"], meta.get("labels", {}).get("app", "")), HEALTHY)

    def begin(self) -> None:
        """Set the first troubles and changes."""
        kinds = self._kinds()
        first = self._rng.sample(kinds[:4], 2) if self._troubled else []
        for number, start in enumerate(first):
            self._later(2.0 + 6.0 * number, start)
        self._later(self._rng.uniform(40, 90), self._next)
        self._later(self._rng.uniform(20, 40), self._harmless)

    def _kinds(self) -> list[Callable[[], None]]:
        return [
            lambda: self._behave(CRASH, self._rng.uniform(180, 420)),
            self._bad_rollout,
            lambda: self._behave(OOM, self._rng.uniform(180, 420)),
            lambda: self._behave(UNREADY, self._rng.uniform(90, 240)),
            self._unschedulable,
            self._lose_node,
        ]

    def _next(self) -> None:
        if self._troubled or self._rng.random() < 0.25:
            self._rng.choice(self._kinds())()
        self._later(self._rng.uniform(60, 180), self._next)

    def _later(self, delay_s: float, work: Callable[[], None]) -> None:
        self._timers.at(self._store.clock.now() + delay_s, work)

    def _pick(self) -> Object | None:
        """A deployment that nothing is wrong with; None when there is none left."""
        found = [
            d
            for d in self._store.list("deployments.apps")
            if (d["metadata"]["namespace"], d["metadata"]["name"]) not in self._behaviours
            and d["metadata"]["namespace"] not in {"kube-system", "monitoring"}
        ]
        return self._rng.choice(sorted(found, key=lambda d: str(d["metadata"]["name"]))) if found else None

    def _behave(self, behaviour: Behaviour, span_s: float) -> None:
        """Change how a deployment's containers behave; those that run now end, or stop being ready."""
        if (deployment := self._pick()) is None:
            return
        meta = deployment["metadata"]
        place = (meta["namespace"], meta["name"])
        self._behaviours[place] = behaviour
        self._nudge(deployment)

        def heal() -> None:
            self._behaviours.pop(place, None)

        self._later(span_s, heal)

    def _nudge(self, deployment: Object) -> None:
        pods = [p for rs in self._controllers.owned(deployment) for p in self._controllers.owned(rs)]
        for pod in pods[: max(1, len(pods) // 2)]:
            if self.kubelet is not None:
                self.kubelet.restart(pod, self._rng.uniform(0.2, 3.0))

    def _bad_rollout(self) -> None:
        """A release whose image is not there, rolled back after a while."""
        if (deployment := self._pick()) is None:
            return
        good = deployment["spec"]
        self._release(deployment, bad=True)
        meta = deployment["metadata"]

        def back() -> None:
            now = self._store.find("deployments.apps", meta["namespace"], meta["name"])
            if now is not None:
                self._store.change("deployments.apps", now, spec=good)

        self._later(self._rng.uniform(150, 300), back)

    def _release(self, deployment: Object, *, bad: bool) -> None:
        spec = deep(deployment["spec"])
        container = spec["template"]["spec"]["containers"][0]
        container["image"] = _next_image(container["image"], self._rng.randrange(9))
        if bad:
            self._bad_images.add(container["image"])
        self._store.change("deployments.apps", deployment, spec=spec)

    def _unschedulable(self) -> None:
        if (deployment := self._pick()) is None:
            return
        meta = deployment["metadata"]
        place = (meta["namespace"], meta["name"])
        before = deployment["spec"]["replicas"]
        self._behaviours[place] = TOO_LARGE
        self._scale(place, before + 2)

        def heal() -> None:
            self._behaviours.pop(place, None)
            self._scale(place, before)

        self._later(self._rng.uniform(120, 240), heal)

    def _scale(self, place: tuple[str, str], replicas: int) -> None:
        now = self._store.find("deployments.apps", *place)
        if now is not None:
            self._store.change("deployments.apps", now, spec={**now["spec"], "replicas": replicas})

    def _lose_node(self) -> None:
        """A kubelet falls silent: nothing for 50 s, then the node is NotReady and its pods not ready, as recorded."""
        nodes = [n["metadata"]["name"] for n in self._store.list("nodes")]
        if self.kubelet is None or len(nodes) < 3 or self.kubelet.lost:
            return
        name, kubelet = self._rng.choice(sorted(nodes)), self.kubelet
        kubelet.lost.add(name)
        self._later(50.0, lambda: self._controllers.lose_node(name) if name in kubelet.lost else None)

        def heal() -> None:
            kubelet.lost.discard(name)
            self._controllers.regain_node(name)

        self._later(self._rng.uniform(100, 180), heal)

    def _harmless(self) -> None:
        """A release or a change of scale that goes well."""
        self._later(self._rng.uniform(40, 120), self._harmless)
        if (deployment := self._pick()) is None:
            return
        meta = deployment["metadata"]
        if self._rng.random() < 0.5:
            self._release(deployment, bad=False)
        else:
            place, before = (meta["namespace"], meta["name"]), deployment["spec"]["replicas"]
            self._scale(place, before + 1)
            self._later(60.0, lambda: self._scale(place, before))


def _next_image(image: str, patch: int) -> str:
    """The next minor version; whatever is not a version, such as "latest", begins at 1.1."""
    name, _, tag = image.rpartition(":")
    major, _, rest = tag.partition(".")
    minor = rest.partition(".")[0]
    return f"{name or tag}:{major if major.isdigit() else 1}.{int(minor) + 1 if minor.isdigit() else 1}.{patch}"
