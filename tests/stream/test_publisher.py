"""A publication changes the snapshot, the history and the readers together and in order, for the highest token only."""

import asyncio

import pytest

from app.stream import scripts
from app.stream.publication import Position
from app.stream.publisher import Fenced, Lost, Publisher, lost

CHANNEL = "rows/c1/pods"


def publisher(redis, token=1, **options):
    return Publisher(redis, CHANNEL, token=token, identity="uid", **options)


async def entries(redis):
    return await redis.hgetall(scripts.keys(CHANNEL)[1])


async def test_offsets_have_no_gap_and_the_snapshot_is_the_state(redis):
    writer = publisher(redis)
    start = await writer.replace({b"a": b"1", b"b": b"2"}, {b"columns": b"x"})
    first = await writer.publish(b"p1", sets={b"c": b"3"}, removes=[b"a"])
    second = await writer.publish(b"p2", sets={}, removes=[])

    assert start.offset == 0
    assert [first, second] == [Position(start.epoch, 1), Position(start.epoch, 2)]
    assert await entries(redis) == {b"b": b"2", b"c": b"3"}
    history = await redis.xrange(scripts.keys(CHANNEL)[2])
    assert history == [(b"1-0", {b"p": b"p1"}), (b"2-0", {b"p": b"p2"})]


async def test_the_history_is_bounded(redis):
    writer = publisher(redis, history=3)
    await writer.replace({}, {})
    for _ in range(10):
        await writer.publish(b"p", sets={}, removes=[])

    assert await redis.xlen(scripts.keys(CHANNEL)[2]) == 3


async def test_a_batch_of_thousands_of_changes_is_one_publication(redis):
    writer = publisher(redis)
    await writer.replace({b"old%d" % number: b"x" for number in range(2500)}, {})
    position = await writer.publish(
        b"p", sets={b"new%d" % n: b"%d" % n for n in range(2500)}, removes=[b"old%d" % n for n in range(2500)]
    )

    assert position.offset == 1
    assert await entries(redis) == {b"new%d" % n: b"%d" % n for n in range(2500)}


async def test_a_new_epoch_begins_at_zero_with_its_own_snapshot_and_no_history(redis):
    writer = publisher(redis)
    old = await writer.replace({b"a": b"1"}, {b"columns": b"x"})
    await writer.publish(b"p", sets={b"b": b"2"}, removes=[])
    new = await writer.replace({b"c": b"3"}, {})

    assert new.epoch != old.epoch
    assert new.offset == 0
    assert await entries(redis) == {b"c": b"3"}
    assert await redis.exists(scripts.keys(CHANNEL)[2]) == 0
    assert set(await redis.hgetall(scripts.keys(CHANNEL)[0])) == {
        b"token",
        b"generation",
        b"epoch",
        b"offset",
        b"count",
    }


async def test_a_replaced_snapshot_does_not_expire_and_leaves_no_scratch_key(redis):
    writer = publisher(redis)
    await writer.replace({b"k%d" % n: b"v" for n in range(1200)}, {})

    assert sorted(await redis.keys("*")) == sorted(key.encode() for key in scripts.keys(CHANNEL)[:2])
    assert await redis.ttl(scripts.keys(CHANNEL)[1]) == -1


@pytest.mark.case("F06")
async def test_a_lower_token_is_refused_everywhere(redis):
    behind, ahead = publisher(redis, token=7), publisher(redis, token=8)
    await behind.replace({b"a": b"old"}, {})
    position = await ahead.replace({b"a": b"new"}, {})

    with pytest.raises(Fenced):
        await behind.publish(b"p", sets={b"a": b"stale"}, removes=[])
    with pytest.raises(Fenced):
        await behind.replace({b"a": b"stale"}, {})
    with pytest.raises(Fenced):
        await behind.remove()
    with pytest.raises(Fenced):
        await publisher(redis, token=7).replace({b"a": b"stale"}, {})
    assert await entries(redis) == {b"a": b"new"}
    assert await ahead.publish(b"p", sets={}, removes=[]) == Position(position.epoch, 1)


@pytest.mark.case("F06")
async def test_the_fence_stands_after_the_channel_was_removed(redis):
    behind, ahead = publisher(redis, token=7), publisher(redis, token=8)
    await behind.replace({b"a": b"old"}, {})
    await ahead.replace({}, {})
    await ahead.remove()

    with pytest.raises(Fenced):
        await behind.replace({b"a": b"stale"}, {})
    assert await entries(redis) == {}


async def test_tokens_are_compared_as_numbers(redis):
    await publisher(redis, token=10).replace({}, {})
    with pytest.raises(Fenced):
        await publisher(redis, token=9).replace({}, {})


async def test_writers_with_one_token_do_not_take_turns(redis):
    first, second = publisher(redis), publisher(redis)
    await first.replace({}, {})
    await second.replace({}, {})
    with pytest.raises(Lost):
        await first.publish(b"p", sets={}, removes=[])


@pytest.mark.case("F04")
@pytest.mark.parametrize("part", [0, 1, None], ids=["position", "snapshot", "everything"])
async def test_a_lost_key_is_noticed_by_publishing_and_by_checking(redis, part):
    for find_out in (lambda w: w.publish(b"p", sets={b"x": b"1"}, removes=[]), lambda w: w.check()):
        writer = publisher(redis)
        await writer.replace({b"a": b"1"}, {})
        await writer.check()
        if part is None:
            await redis.flushall()
        else:
            await redis.delete(scripts.keys(CHANNEL)[part])
        assert await lost(redis, [writer]) == [writer]
        with pytest.raises(Lost):
            await find_out(writer)
        with pytest.raises(Lost):
            await writer.publish(b"p", sets={}, removes=[])
        await writer.replace({b"a": b"1"}, {})
        await writer.check()
        assert await lost(redis, [writer]) == []


async def test_an_older_state_of_redis_is_noticed(redis):
    writer = publisher(redis)
    await writer.replace({}, {})
    await writer.publish(b"p", sets={b"a": b"1"}, removes=[])
    await redis.hset(scripts.keys(CHANNEL)[0], mapping={"offset": 0, "count": 0})
    await redis.delete(scripts.keys(CHANNEL)[1])

    with pytest.raises(Lost):
        await writer.publish(b"p", sets={}, removes=[])


async def test_a_publication_that_readers_saw_and_redis_then_forgot_is_not_followed_by_another_at_its_place(redis):
    writer = publisher(redis)
    before = await writer.replace({}, {})
    await writer.publish(b"p", sets={b"a": b"1"}, removes=[])
    # Its answer was lost, and then Redis came back with the state before it.
    writer.position, writer._in_doubt = before, True
    await redis.hset(scripts.keys(CHANNEL)[0], mapping={"offset": 0, "count": 0})
    await redis.delete(*scripts.keys(CHANNEL)[1:])

    with pytest.raises(Lost):
        await writer.publish(b"p", sets={b"a": b"2"}, removes=[])


async def test_scripts_are_sent_again_to_a_server_that_forgot_them(redis):
    writer = publisher(redis)
    await writer.replace({}, {})
    await redis.script_flush()
    assert (await writer.publish(b"p", sets={b"a": b"1"}, removes=[])).offset == 1


async def test_after_a_cancelled_publication_the_writer_finds_out_what_holds(redis):
    writer = publisher(redis)
    await writer.replace({}, {})
    outcomes = set()
    for turn in range(60):
        before = writer.position
        with pytest.raises(asyncio.CancelledError):
            await cancelled_after(1 + turn % 12, writer.publish(b"p", sets={b"a": b"%d" % turn}, removes=[]))
        try:
            after = await writer.publish(b"q", sets={b"a": b"%d" % turn}, removes=[])
            outcomes.add("went on")
            assert after.epoch == before.epoch
            assert after.offset in (before.offset + 1, before.offset + 2)
        except Lost:
            outcomes.add("lost")
            await writer.replace({b"a": b"%d" % turn}, {})
        assert await entries(redis) == {b"a": b"%d" % turn}
        held, *_ = await redis.hmget(scripts.keys(CHANNEL)[0], "offset")
        assert int(held) == writer.position.offset


async def cancelled_after(turns, work):
    async def run():
        await work
        raise asyncio.CancelledError  # it was quicker

    async with asyncio.TaskGroup() as group:
        task = group.create_task(run())
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
    raise asyncio.CancelledError


async def test_checking_many_channels_is_one_round_trip(redis):
    writers = [Publisher(redis, f"c/{number}", token=1, identity="u") for number in range(50)]
    for writer in writers:
        await writer.replace({b"a": b"1"}, {})
    await redis.delete(scripts.keys("c/7")[1])
    await Publisher(redis, "c/9", token=2, identity="u").replace({}, {})
    before = (await redis.info("stats"))["total_commands_processed"]

    assert await lost(redis, writers) == [writers[7], writers[9]]
    with pytest.raises(Fenced):
        await writers[9].check()
    assert (await redis.info("stats"))["total_commands_processed"] - before <= 2 * len(writers) + 10
