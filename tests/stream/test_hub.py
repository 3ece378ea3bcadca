"""Readers get a snapshot and then every change, once and in order; what cannot be kept is replaced, never skipped."""

import asyncio

import pytest

from app.stream import scripts
from app.stream.hub import Hub
from app.stream.publisher import Publisher
from app.tasks import running
from tests.stream.fleet import Reader, Writer, cut_subscribers, until, wrong

CHANNEL = "rows/c1/pods"


def hub(url, **options):
    return Hub(url, **{"check_s": 0.1, "stale_s": 0.3, **options})


async def test_a_reader_gets_the_snapshot_with_its_meta_and_then_each_change(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state is not None)
            assert reader.meta == {b"columns": b"[]"}
            for _ in range(50):
                writer.change()
                await writer.flush()
            await until(lambda: not wrong(reader, writer))
    assert reader.snapshots == 1
    assert reader.position.offset == 50


async def test_a_reader_waits_for_a_channel_that_does_not_exist_and_is_told_that_it_waits(redis, redis_url):
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.stale)
            assert "watcher" in reader.stale.reason
            await Publisher(redis, CHANNEL, token=1, identity="u").replace({b"a": b"1"}, {})
            await until(lambda: reader.state == {b"a": b"1"})
            assert reader.stale is None


@pytest.mark.case("F09")
async def test_readers_that_wait_together_share_one_snapshot_read(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        readers = [Reader(hubb, CHANNEL) for _ in range(100)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader.run()) for reader in readers]
            await until(lambda: all(reader.state for reader in readers))
            first = hubb.snapshots_read
            await cut_subscribers(redis)
            writer.change()
            await writer.flush()
            await until(lambda: not any(wrong(reader, writer) for reader in readers))
            for task in tasks:
                task.cancel()
    assert first == 1
    assert hubb.snapshots_read == 1  # the history sufficed for the reconnect


async def test_a_late_reader_starts_in_step_with_those_that_are_there(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb, running("writer", writer.run(interval_s=0.001)):
        readers = [Reader(hubb, CHANNEL) for _ in range(10)]
        async with asyncio.TaskGroup() as group:
            tasks = []
            for reader in readers:
                tasks.append(group.create_task(reader.run()))
                await until(lambda reader=reader: reader.state is not None)
                await until(lambda goal=writer.published + 20: writer.published >= goal)
            goal = writer.published
            await until(lambda: all(reader.position.offset >= goal for reader in readers))
            for task in tasks:
                task.cancel()
    assert [reader.snapshots for reader in readers] == [1] * 10


async def test_a_slow_reader_gets_a_new_snapshot_and_is_never_shown_a_gap(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        quick = Reader(hubb, CHANNEL)
        slow = hubb.follow(CHANNEL, backlog=4)
        async with running("quick", quick.run()):
            first = await anext(slow)
            for _ in range(30):
                writer.change()
                await writer.flush()
            await until(lambda: not wrong(quick, writer))
            second = await anext(slow)
            await slow.aclose()
    assert first.position.offset == 0
    assert second.position.offset == 30
    assert second.entries == writer.truth
    assert quick.snapshots == 1


@pytest.mark.case("F04")
async def test_a_gap_longer_than_the_history_ends_in_a_snapshot(redis, redis_url):
    writer = Writer(redis, CHANNEL, history=2)
    await writer.start()
    async with hub(redis_url, delays=lambda: iter([0.5] * 100), check_s=30) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            await cut_subscribers(redis)
            for _ in range(20):
                writer.change()
                await writer.flush()
            await until(lambda: not wrong(reader, writer))
    assert reader.snapshots == 2


async def test_a_lost_last_message_is_found_although_nothing_follows_it(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url, delays=lambda: iter([60.0] * 100)) as hubb:  # it stays cut off
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            await cut_subscribers(redis)
            writer.change()
            await writer.flush()
            await until(lambda: not wrong(reader, writer))
    assert reader.snapshots == 1


async def test_a_new_epoch_is_a_new_snapshot(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url, check_s=30) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            successor = Publisher(redis, CHANNEL, token=2, identity="other")
            await successor.replace({b"x": b"1"}, {b"columns": b"y"})
            await until(lambda: reader.state == {b"x": b"1"})
            assert reader.meta == {b"columns": b"y"}
            assert reader.position.epoch.startswith("2.other.")


async def test_a_removed_channel_is_stale_until_it_is_published_again(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            await writer.publisher.remove()
            await until(lambda: reader.stale)
            await writer.heal()
            await until(lambda: reader.stale is None and not wrong(reader, writer))
    assert reader.snapshots == 2


async def test_a_stale_reader_that_missed_nothing_is_told_so(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            await redis.execute_command("CLIENT", "PAUSE", "2500", "ALL")
            await until(lambda: reader.stale)
            assert "Redis" in reader.stale.reason
            await until(lambda: reader.stale is None)
    assert reader.snapshots == 1
    assert reader.items[-2:] == ["Stale", "list"]


async def test_a_channel_that_nobody_follows_any_more_is_left(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            assert await redis.pubsub_channels() != [b"kn:hub"]
        async with asyncio.timeout(10):
            while await redis.pubsub_channels() != [b"kn:hub"]:
                await asyncio.sleep(0.05)
        again = Reader(hubb, CHANNEL)
        async with running("again", again.run()):
            await until(lambda: again.state)
            writer.change()
            await writer.flush()
            await until(lambda: not wrong(again, writer))


async def test_readers_end_when_the_hub_is_left(redis, redis_url):
    await Publisher(redis, CHANNEL, token=1, identity="u").replace({}, {})
    reader = None
    async with asyncio.TaskGroup() as group:
        async with hub(redis_url) as hubb:
            reader = Reader(hubb, CHANNEL)
            task = group.create_task(reader.run())
            await until(lambda: reader.state is not None)
        await asyncio.wait_for(task, 5)


async def test_many_channels_are_followed_on_one_connection(redis, redis_url):
    writers = [Writer(redis, f"rows/c/{number}", keys=20, seed=number) for number in range(120)]
    for writer in writers:
        await writer.start()
    async with hub(redis_url) as hubb:
        readers = [Reader(hubb, f"rows/c/{number}") for number in range(120)]
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(reader.run()) for reader in readers]
            await until(lambda: all(reader.state for reader in readers))
            clients = await redis.client_list("pubsub")
            for writer in writers:
                writer.change()
                await writer.flush()
            await until(lambda: not any(map(wrong, readers, writers)))
            for task in tasks:
                task.cancel()
    assert len(clients) == 1
    assert hubb.snapshots_read == 120


async def test_changes_that_arrive_while_a_reader_joins_are_not_late(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url, check_s=60) as hubb:  # nothing but the messages and the repairs may bring them
        readers = []
        async with asyncio.TaskGroup() as group:
            tasks = []
            for _ in range(60):
                readers.append(Reader(hubb, CHANNEL))
                tasks.append(group.create_task(readers[-1].run()))
                for _ in range(3):
                    writer.change()
                    await writer.flush()
                await until(lambda: not any(wrong(reader, writer) for reader in readers), patience_s=10)
            for task in tasks:
                task.cancel()


@pytest.mark.case("F04")
async def test_a_snapshot_of_which_a_part_is_gone_is_not_shown(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    await redis.hdel(scripts.keys(CHANNEL)[1], "k7")
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.stale)
            assert reader.snapshots == 0
            await writer.check()
            await until(lambda: reader.state == writer.truth)


@pytest.mark.case("F02")
async def test_a_redis_that_came_back_with_older_data_does_not_set_readers_back(redis, redis_url):
    writer = Writer(redis, CHANNEL)
    await writer.start()
    async with hub(redis_url) as hubb:
        reader = Reader(hubb, CHANNEL)
        async with running("reader", reader.run()):
            await until(lambda: reader.state)
            older = {key: await redis.dump(key) for key in scripts.keys(CHANNEL)[:2]}
            for _ in range(5):
                writer.change()
                await writer.flush()
            await until(lambda: not wrong(reader, writer))
            for key, value in older.items():
                await redis.restore(key, 0, value, replace=True)
            await cut_subscribers(redis)
            await until(lambda: reader.stale)
            assert reader.position.offset == 5
            assert not wrong(reader, writer)
            await writer.check()
            await until(lambda: reader.stale is None)
            assert reader.state == writer.truth
