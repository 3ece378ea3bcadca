"""Rows about a machine's life: verification, change of kinds and clusters, clocks, cancellation, load (W31-W40)."""

import asyncio
import gc
import os
import random
import resource
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import app.kube
from app.clock import SYSTEM_CLOCK
from app.kube.verify import differences, verify, verify_always
from app.kube.watch import ListWatch, Timing
from app.tasks import running

from .fault_apiserver import FaultServer, World, refuse
from .mirror import PATH, Mirror, SkippingClock, until, watching

SEEDS = pytest.mark.parametrize("seed", [1, 2, 3])


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@pytest.mark.case("W31")
@SEEDS
@pytest.mark.parametrize("lost", ["apply", "delete", "change"])
async def test_an_event_that_was_lost_is_found_and_repaired(seed: int, lost: str) -> None:
    server = FaultServer()
    server.world.fill(600)
    server.bookmark_s = 0.02
    async with watching(server, seed=seed) as rig:
        await rig.caught_up()
        held = rig.mirror.versions
        uid = random.Random(seed).choice(sorted(held))
        match lost:
            case "apply":
                held.pop(uid)
            case "delete":
                held["uid-ghost"] = "17"
            case _:
                held[uid] = "17"
        clock = SkippingClock()
        async with running("verify", verify_always(rig.machine, lambda: rig.mirror.versions, every_s=600, clock=clock)):
            await rig.caught_up()

    assert clock.slept[0] == 600
    assert len(server.of("list")) > 2


@pytest.mark.case("W31")
async def test_a_whole_mirror_is_left_alone_while_it_changes() -> None:
    server = FaultServer()
    server.world.fill(100)
    async with watching(server) as rig:
        await rig.caught_up()
        for step in range(20):
            rig.world.put(f"object-{step:05}", step="x")
            assert not await verify(rig.machine, lambda: rig.mirror.versions)
        await rig.caught_up()

    assert [kind for kind, _ in rig.mirror.told].count("begin") == 1


@pytest.mark.case("W31")
async def test_a_version_that_is_gone_or_opaque_says_nothing() -> None:
    server = FaultServer()
    server.world.fill(3)
    async with watching(server) as rig:
        await rig.caught_up()
        server.world.version += 5
        server.world.compact()

        assert await differences(rig.api, PATH, rig.machine.version, {}) is None
        assert await differences(rig.api, PATH, "abc", {}) is None


@pytest.mark.case("W32")
@SEEDS
@pytest.mark.parametrize("body", [b"404 page not found\n", b'{"kind":"Status","code":404,"reason":"NotFound"}'])
async def test_a_kind_that_goes_and_returns(seed: int, body: bytes) -> None:
    server = FaultServer(streaming=seed == 2)
    server.world.fill(4)
    clock = SkippingClock()
    async with watching(server, seed=seed, clock=clock, streaming=True) as rig:
        await rig.caught_up()
        for name in [*server.world.objects]:
            server.world.delete(name)
        await rig.caught_up()
        server.always("any", refuse(404, body))
        server.drop()
        await until(lambda: rig.mirror.states[-1][0] == "gone")
        waited = len(clock.slept)
        await until(lambda: len(clock.slept) > waited + 3)
        server.heal()
        server.world.put("of-another-version")
        await rig.caught_up()
        await until(lambda: rig.mirror.states[-1][0] == "live")

    assert all(20 <= slept <= 30 for slept in clock.slept[waited:])


@pytest.mark.case("W33")
@SEEDS
@pytest.mark.parametrize("streaming", [False, True])
async def test_a_server_restored_from_an_old_backup_is_noticed(seed: int, streaming: bool) -> None:
    """A watch from a version in the server's future is silent for ever: recorded as 200 with an empty body."""
    server = FaultServer(streaming=streaming)
    server.world.fill(40)
    async with watching(server, seed=seed, streaming=streaming, timing=Timing(idle_s=(0.2, 0.3))) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch") + server.of("streaming")) >= 1)
        rig.world.put("seen")
        await rig.caught_up()
        old = World(version=700)
        old.fill(7)
        server.world = rig.world = old
        server.drop()
        await rig.caught_up()
        rig.world.put("later")
        await rig.caught_up()

    assert any("older" in message for _, message in rig.mirror.states)
    assert int(rig.machine.version) < 1000


class JumpingClock(SkippingClock):
    """Its wall clock jumps by an hour back and forth and by a summer's end with each look."""

    looks = 0

    def now(self) -> datetime:
        self.looks += 1
        return datetime.now(UTC) + timedelta(hours=[1, -1, 0, 25][self.looks % 4])


@pytest.mark.case("W34")
@SEEDS
async def test_a_wall_clock_that_jumps_changes_no_wait(seed: int) -> None:
    slept = []
    for clock in (SkippingClock(), JumpingClock()):
        server = FaultServer()
        server.world.fill(2)
        server.always("any", refuse(503))
        async with watching(server, seed=seed, clock=clock):
            await until(lambda clock=clock: len(clock.slept) >= 7)
        slept.append(clock.slept[:7])

    assert slept[0] == slept[1]


@pytest.mark.case("W34")
def test_the_package_never_reads_the_wall_clock() -> None:
    sources = [path.read_text() for path in Path(app.kube.__file__).parent.glob("*.py")]

    assert not any(word in text for text in sources for word in (".now()", "time.time", "datetime.now", "utcnow"))


async def start_and_stop(times: int, seed: int) -> None:
    rng = random.Random(seed)
    server = FaultServer(streaming=True)
    server.world.fill(50)
    async with watching(server, start=False) as rig:
        for number in range(times):
            machine = ListWatch(
                rig.api, PATH, rig.machine._codec, Mirror(), rng=rng, streaming=number % 2 == 0, clock=SYSTEM_CLOCK
            )
            async with running("machine", machine.run()):
                for _ in range(rng.randrange(60)):
                    await asyncio.sleep(0)
                if number % 7 == 0:
                    await asyncio.sleep(rng.random() * 0.01)


async def leaks(times: int, seed: int) -> tuple[int, int]:
    """Growth of open files and tasks over so many starts and stops, after a warm-up."""
    await start_and_stop(20, seed)
    gc.collect()
    await asyncio.sleep(0.05)
    files, tasks = open_files(), len(asyncio.all_tasks())
    await start_and_stop(times, seed)
    await until_quiet(files)
    return open_files() - files, len(asyncio.all_tasks()) - tasks


async def until_quiet(files: int) -> None:
    for _ in range(100):
        gc.collect()
        await asyncio.sleep(0.01)
        if open_files() <= files:
            return


@pytest.mark.case("W35")
@SEEDS
async def test_cancelling_anywhere_leaks_no_task_and_no_file(seed: int) -> None:
    files, tasks = await leaks(150, seed)

    assert files <= 0
    assert tasks <= 0


@pytest.mark.case("W35")
@pytest.mark.slow
async def test_ten_thousand_starts_and_stops_leak_nothing() -> None:
    files, tasks = await leaks(10_000, 1)

    assert files <= 0
    assert tasks <= 0


async def storm(seconds: float, per_second: int) -> tuple[int, int]:
    """Growth of peak memory in MiB under a storm of changes to 200 objects, and the events received."""
    server = FaultServer()
    server.world.fill(200)
    names = [*server.world.objects]
    loop = asyncio.get_running_loop()
    async with watching(server) as rig:
        await rig.caught_up()
        await until(lambda: len(server.of("watch")) == 1)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        started_s, written = loop.time(), 0
        while (elapsed := loop.time() - started_s) < seconds:
            while written < elapsed * per_second:
                server.world.put(names[written % 200], step=str(written))
                written += 1
            server.world.history = server.world.history[-20_000:]
            rig.mirror.told.clear()
            await asyncio.sleep(0.005)
        await rig.caught_up(60)
        grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
        assert len(server.of("list")) == 1
        return grown, rig.machine.counters.events


@pytest.mark.case("W38")
async def test_a_storm_of_events_ends_at_the_truth() -> None:
    _, events = await storm(1.0, 3_000)

    assert events >= 2_900


@pytest.mark.case("W38")
@pytest.mark.slow
async def test_a_storm_of_thirty_seconds_needs_no_more_memory() -> None:
    grown, _ = await storm(30.0, 5_000)

    assert grown < 150


@pytest.mark.case("W40")
async def test_an_hour_of_reconnects_in_small_keeps_files_and_tasks() -> None:
    """Each pass is a life: list, events, a cut, a resume. The real soak is the slow one."""
    assert await soak(2.0) <= 3


@pytest.mark.case("W40")
@pytest.mark.slow
async def test_a_soak_of_half_an_hour_has_no_slope() -> None:
    """Many days of reconnects at the machine's own pace, packed into as long as KUBENEXUS_SOAK_S says."""
    await soak(60.0)
    before = resident_kib()
    await soak(float(os.environ.get("KUBENEXUS_SOAK_S", "1800")))

    assert resident_kib() <= before * 1.03


async def soak(seconds: float) -> int:
    """Churn and cut for so long; return how many files more are open at the end than after the first cut."""
    server = FaultServer(streaming=True)
    server.world.fill(300)
    rng = random.Random(4)
    loop = asyncio.get_running_loop()
    async with watching(server, streaming=True) as rig:
        await rig.caught_up()
        files, until_s = open_files(), loop.time() + seconds
        while loop.time() < until_s:
            for _ in range(50):
                server.world.put(f"object-{rng.randrange(300):05}", step=str(rng.random()))
            await rig.caught_up(20)
            rig.mirror.told.clear()
            rig.mirror.states.clear()
            rig.clock.slept.clear()
            server.requests.clear()
            server.world.history = server.world.history[-1000:]
            if rng.random() < 0.5:
                server.drop()
            await asyncio.sleep(0.002)
        return open_files() - files


def resident_kib() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4
