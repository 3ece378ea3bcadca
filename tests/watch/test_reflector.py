"""One resource from a scripted API server through a real Valkey to a reader: whole, in order, healed after losses."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import msgspec
import pytest

from app.clock import SYSTEM_CLOCK
from app.kube.client import ApiServer, Endpoint
from app.kube.watch import Timing
from app.stream.publisher import Fenced, Publisher
from app.stream.scripts import keys
from app.tasks import running
from app.watch.catalogue import PROJECTIONS, kind_of
from app.watch.codec import ObjectCodec
from app.watch.mirror import PENDING, Mirror
from app.watch.packing import Packer
from app.watch.reflector import Pace, Reflector, forbidden_message, path_of
from app.watch.schemas import COLUMNS_META, Batch, Column, ResourceRef, Row, rows_channel
from app.watch.store import FRESH, Store, key_of
from tests.kube.fault_apiserver import Exchange, FaultServer, World, error_event, gone, refuse, status
from tests.watch.test_store import recorded_pods

CONFIGMAPS = ResourceRef("", "v1", "configmaps", "ConfigMap", namespaced=True)
CERTIFICATES = ResourceRef("cert.example", "v1", "certificates", "Certificate", namespaced=True)
QUICK = Pace(tick_s=0.01, timing=Timing(backoff_first_s=0.01, backoff_cap_s=0.05, forbidden_s=0.1, gone_s=0.1))
CHANNEL = rows_channel("c1", CONFIGMAPS.key)


class Setting:
    """A server, a reflector of one of its resources, and what Valkey holds of it."""

    def __init__(self, server: FaultServer, redis, ref: ResourceRef = CONFIGMAPS) -> None:
        self.server = server
        self.redis = redis
        self.channel = rows_channel("c1", ref.key)
        endpoint = Endpoint(server=server.url, allow_loopback=True, allow_plaintext=True)
        self.api = ApiServer(endpoint)
        self.publisher = Publisher(redis, self.channel, token=1, identity="x")
        self.namespaces: list[str] = []
        self.reflector = Reflector(
            self.api, ref, self.publisher, Packer(), namespaces=lambda: self.namespaces, pace=QUICK
        )

    async def held(self) -> dict[str, str]:
        """uid -> version, as a reader who loads the snapshot sees it."""
        entries = await self.redis.hgetall(keys(self.channel)[1])
        rows = [msgspec.msgpack.decode(value, type=Row) for value in entries.values()]
        return {row.uid: row.version for row in rows}

    async def until(self, said: Callable[[], object], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not said():
                await asyncio.sleep(0.01)

    async def until_true(self, within_s: float = 20.0) -> None:
        """Until readers see the truth."""
        async with asyncio.timeout(within_s):
            while await self.held() != self.server.world.versions():
                await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def mirrored(server: FaultServer, redis, ref: ResourceRef = CONFIGMAPS) -> AsyncIterator[Setting]:
    async with server:
        setting = Setting(server, redis, ref)
        async with setting.api, running("reflector", setting.reflector.run()):
            yield setting


@pytest.mark.parametrize("streaming", [True, False], ids=["streaming list", "list"])
async def test_what_a_server_has_and_changes_reaches_readers(redis, streaming: bool) -> None:
    server = FaultServer(streaming=streaming)
    server.world.fill(50)
    async with mirrored(server, redis) as setting:
        await setting.until_true()
        server.world.put("object-00003", key="value")
        server.world.delete("object-00004")
        server.world.put("new")
        await setting.until_true()
        await setting.until(lambda: setting.reflector.status().state == "live")
        assert setting.reflector.status().count == 50
        assert setting.reflector.lag_s(9e9) == 0.0
        assert setting.reflector.newest() is not None


async def test_one_publication_holds_all_changes_of_a_burst(redis) -> None:
    async with mirrored(FaultServer(), redis) as setting:
        await setting.until(lambda: setting.publisher.position is not None)
        setting.server.world.fill(500)
        for _ in range(20):
            setting.server.world.put("object-00000", a="b")
        await setting.until_true()

        assert setting.publisher.position.offset < 100
        batches = [
            msgspec.msgpack.decode(fields[name], type=Batch)
            for _, fields in await redis.xrange(keys(CHANNEL)[2])
            for name in fields
            if len(fields[name]) > 20
        ]
        assert sum(len(batch.upserts) for batch in batches) < 520


@pytest.mark.case("W04")
async def test_a_relist_tells_readers_only_what_differs(redis) -> None:
    server = FaultServer()
    server.world.fill(100)
    async with mirrored(server, redis) as setting:
        await setting.until_true()
        before = setting.publisher.position
        server.on("watch", error_event(gone("too old resource version")))
        server.drop()
        await setting.until(lambda: len(server.of("list")) > 1)
        server.world.put("object-00001", a="b")
        await setting.until_true()

        assert setting.publisher.position.epoch == before.epoch
        assert setting.publisher.position.offset <= before.offset + 2


@pytest.mark.case("F02", "F04", "W30")
async def test_readers_see_the_truth_again_after_redis_came_back_empty(redis) -> None:
    server = FaultServer()
    server.world.fill(20)
    async with mirrored(server, redis) as setting:
        await setting.until_true()
        epoch, asked = setting.publisher.position.epoch, len(server.requests)
        await redis.flushall()
        await setting.until_true()  # found out by asking Valkey, nothing changed

        assert setting.publisher.position.epoch != epoch
        assert len(server.requests) == asked
        await redis.flushall()
        server.world.put("after")
        await setting.until_true()


async def test_nothing_is_lost_or_hoarded_while_redis_is_away(redis, redis_url: str) -> None:
    server = FaultServer()
    server.world.fill(20)
    async with mirrored(server, redis) as setting:
        await setting.until_true()
        await redis.client_pause(1500)
        for number in range(30):
            server.world.put(f"during-{number % 3}", n=str(number))
            await asyncio.sleep(0.01)
        server.world.delete("object-00001")
        await setting.until_true()


@pytest.mark.case("F06")
async def test_a_reflector_that_was_superseded_ends(redis) -> None:
    server = FaultServer()
    server.world.fill(3)
    async with server:
        setting = Setting(server, redis)
        async with setting.api:
            task = asyncio.get_running_loop().create_task(setting.reflector.run())
            await setting.until_true()
            await Publisher(redis, CHANNEL, token=2, identity="x").replace({}, {})
            server.world.put("late")
            with pytest.raises(Fenced):
                await asyncio.wait_for(task, 20)
            assert await setting.held() == {}


@pytest.mark.case("W18")
async def test_a_forbidden_kind_says_which_right_is_missing_and_comes_when_it_is_granted(redis) -> None:
    server = FaultServer()
    server.world.fill(3)
    server.always("any", refuse(403, status(403, "Forbidden", "no")))
    async with mirrored(server, redis) as setting:
        await setting.until(lambda: setting.reflector.status().state == "forbidden")
        said = setting.reflector.status()
        assert said.count is None
        assert said.message == forbidden_message(CONFIGMAPS)
        assert '"list" and "watch" on "configmaps"' in said.message
        server.heal()
        await setting.until_true()
        await setting.until(lambda: setting.reflector.status().state == "live")


@pytest.mark.case("W18")
async def test_what_becomes_forbidden_is_no_longer_shown_and_comes_back_whole(redis) -> None:
    server = FaultServer()
    server.world.fill(3)
    async with mirrored(server, redis) as setting:
        await setting.until_true()
        server.always("any", refuse(403, status(403, "Forbidden", "no")))
        server.drop()
        await setting.until(lambda: setting.reflector.status().state == "forbidden")
        async with asyncio.timeout(20):
            while await setting.held():
                await asyncio.sleep(0.01)
        server.heal()
        await setting.until_true()


async def test_a_credential_for_some_namespaces_sees_those_together(redis) -> None:
    server = FaultServer()
    server.world.fill(4)

    async def by_namespace(exchange: Exchange) -> None:
        if "/namespaces/" not in exchange.request.path or "/namespaces/c/" in exchange.request.path:
            await refuse(403, status(403, "Forbidden", "no"))(exchange)
        elif exchange.request.kind == "list":
            namespace = exchange.request.path.split("/")[4]
            items = [
                {**made, "metadata": {**made["metadata"], "uid": f"{namespace}-{made['metadata']['uid']}"}}
                for made in server.world.objects.values()
            ]
            await exchange.answer(200, {"kind": "ConfigMapList", "metadata": {"resourceVersion": "1"}, "items": items})
        elif exchange.request.kind == "streaming":
            await refuse(422)(exchange)
        else:
            await exchange.normal()

    server.always("any", by_namespace)
    async with server:
        setting = Setting(server, redis)
        setting.namespaces = ["a", "b", "c"]
        async with setting.api, running("reflector", setting.reflector.run()):
            async with asyncio.timeout(20):
                while len(await setting.held()) != 8:
                    await asyncio.sleep(0.01)
            await setting.until(lambda: setting.reflector.status().namespaces == ("a", "b"))
            assert setting.reflector.status().count == 8


async def test_another_kind_comes_as_the_server_prints_it_with_its_columns(redis) -> None:
    server = FaultServer()

    def table(*rows: tuple[str, str]) -> dict:
        named = {"type": "string", "format": "", "priority": 0, "description": ""}
        definitions = [
            {**named, "name": "Name", "format": "name"},
            {**named, "name": "Ready"},
            {**named, "name": "Age"},
        ]
        metas = [{"name": name, "uid": f"uid-{name}", "resourceVersion": "10"} for name, _ in rows]
        return {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": "10"},
            "columnDefinitions": definitions,
            "rows": [
                {"cells": [name, ready, "3d"], "object": {"kind": "PartialObjectMetadata", "metadata": meta}}
                for (name, ready), meta in zip(rows, metas, strict=True)
            ],
        }

    async def prints(exchange: Exchange) -> None:
        assert exchange.request.params["includeObject"] == "Metadata"
        assert "as=Table" in exchange.request.headers["accept"]
        if exchange.request.kind == "list":
            await exchange.answer(200, table(("a", "True"), ("b", "False")))
            return
        await exchange.start()
        await exchange.line("ADDED", table(("c", "Unknown")))
        await exchange.mute()

    server.always("any", prints)
    async with mirrored(server, redis, CERTIFICATES) as setting:
        await setting.until(lambda: setting.publisher.position is not None)
        meta = await redis.hgetall(keys(setting.channel)[0])
        columns = next(value for name, value in meta.items() if name.endswith(COLUMNS_META))
        assert [column.title for column in msgspec.msgpack.decode(columns, type=list[Column])] == ["Ready"]
        async with asyncio.timeout(20):
            while len(await setting.held()) != 3:
                await asyncio.sleep(0.01)
        entries = await redis.hgetall(keys(setting.channel)[1])
        rows = [msgspec.msgpack.decode(row, type=Row) for row in entries.values()]
        assert {(row.name, *row.cells, row.level) for row in rows} == {
            ("a", "True", 1),
            ("b", "False", 3),
            ("c", "Unknown", 2),
        }


async def test_a_server_that_answers_with_another_shape_gives_a_state_and_no_crash(redis) -> None:
    server = FaultServer()

    async def odd(exchange: Exchange) -> None:
        await exchange.answer(
            200, json.dumps({"kind": "Table", "apiVersion": "meta.k8s.io/v1", "rows": [{"cells": 7}]}).encode()
        )

    server.always("any", odd)
    async with mirrored(server, redis, CERTIFICATES) as setting:
        await setting.until(lambda: setting.reflector.status().state == "degraded")
        assert setting.reflector.status().message


@pytest.mark.case("W38")
def test_what_waits_is_bounded_however_long_nobody_comes_for_it() -> None:
    store = Store(kind_of(PROJECTIONS["", "configmaps"]), Packer())
    mirror = Mirror("", store, SYSTEM_CLOCK, lambda: None)
    codec = ObjectCodec(PROJECTIONS["", "configmaps"], "v1")
    world = World()
    for number in range(3 * PENDING):
        made = world.put(f"object-{number}")
        mirror.changed([codec.line(json.dumps({"type": "ADDED", "object": made}).encode())])
        assert store.pending <= PENDING + 1

    assert len(store) + store.pending == 3 * PENDING
    assert len(store._fresh) <= FRESH


@pytest.mark.case("W31")
async def test_an_object_that_was_lost_is_found_and_shown_again(redis) -> None:
    server = FaultServer()
    server.world.fill(20)
    server.bookmark_s = 0.05
    async with server:
        setting = Setting(server, redis)
        setting.reflector._verify_s = 0.3
        async with setting.api, running("reflector", setting.reflector.run()):
            await setting.until_true()
            store = setting.reflector._mirrors[""].store
            lost = sorted(store.versions())[3]
            store._bury(key_of(lost), "1")
            setting.reflector._wake.set()
            async with asyncio.timeout(20):
                while lost in await setting.held():
                    await asyncio.sleep(0.01)
            await setting.until_true()


async def test_a_first_list_is_packed_with_a_dictionary_of_its_own_objects(redis) -> None:
    pods = ResourceRef("", "v1", "pods", "Pod", namespaced=True)
    items = [json.loads(line)["object"] for line in recorded_pods(600)]
    server = FaultServer()

    async def lists(exchange: Exchange) -> None:
        if exchange.request.kind == "list":
            await exchange.answer(200, {"kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": items})
        else:
            await exchange.start()
            await exchange.mute()

    server.on("streaming", refuse(422))
    server.always("any", lists)
    async with mirrored(server, redis, pods) as setting:
        await setting.until(lambda: setting.reflector.status().count == 600)
        store = setting.reflector._mirrors[""].store
        await setting.until(lambda: {entry[2] for entry in store._entries.values()} == {1})
        assert len(await setting.held()) == 600
        assert json.loads(setting.reflector.object(items[0]["metadata"]["uid"])) == items[0]


@pytest.mark.case("W29")
async def test_nothing_is_published_before_the_first_list_is_whole(redis) -> None:
    server = FaultServer(streaming=True)
    server.world.fill(30)
    half = asyncio.Event()

    async def stuck(exchange: Exchange) -> None:
        await exchange.start()
        for made in list(server.world.objects.values())[:10]:
            await exchange.line("ADDED", made)
        await half.wait()
        await exchange.reset()

    server.on("streaming", stuck)
    async with mirrored(server, redis) as setting:
        await setting.until(lambda: server.of("streaming"))
        await asyncio.sleep(0.1)
        assert not await redis.exists(*keys(CHANNEL))
        assert setting.reflector.status().count is None
        half.set()
        await setting.until_true()


def test_paths() -> None:
    assert path_of(CONFIGMAPS) == "/api/v1/configmaps"
    assert path_of(CONFIGMAPS, "shop") == "/api/v1/namespaces/shop/configmaps"
    assert path_of(CERTIFICATES, "shop") == "/apis/cert.example/v1/namespaces/shop/certificates"
