"""Commands end when they are cancelled, are refused in time by a server that hangs, and never answer another caller."""

import asyncio
import random

import pytest

from app.storage.redis import Messages, RedisError, Script, connect


async def cancelled(work, turns):
    """Run `work` in a task, cancel it after some turns of the loop, wait for its end."""
    task = asyncio.get_running_loop().create_task(work)
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait_for(asyncio.wait({task}), 10)
    return task


@pytest.mark.parametrize("connected", [False, True])
async def test_a_task_that_is_cancelled_in_a_command_ends_whenever_that_is(redis_url, redis, connected):
    for turns in range(1, 30):
        async with connect(redis_url) as client:
            if connected:
                await client.ping()

            async def work(client=client):
                while True:
                    await client.set("a", "1")

            assert (await cancelled(work(), turns)).cancelled()


async def tell_tenant(client, tenant, faults):
    for turn in range(10**9):
        value = f"{tenant}:{turn}"
        if await client.echo(value) != value.encode():
            faults.append(value)
        pipe = client.pipeline(transaction=turn % 2 == 0)
        for part in range(3):
            pipe.echo(f"{value}:{part}")
        if await pipe.execute() != [f"{value}:{part}".encode() for part in range(3)]:
            faults.append(value)


async def cancel_at_random(client, *, cancels, tenants, rng):
    faults = []
    for round_ in range(cancels // tenants):
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(tell_tenant(client, f"{round_}.{number}", faults)) for number in range(tenants)]
        for _ in range(rng.randrange(1, 40)):
            await asyncio.sleep(0)
        rng.shuffle(tasks)
        for task in tasks:
            task.cancel()
            await asyncio.sleep(0)
        done, pending = await asyncio.wait(tasks, timeout=20)
        assert not pending
        assert all(task.cancelled() for task in done)
    await asyncio.gather(*(client.echo("end") for _ in range(tenants)))
    return faults


@pytest.mark.case("F08")
async def test_no_reply_reaches_another_caller_when_commands_are_cancelled(redis_url, redis):
    async with connect(redis_url) as client:
        assert await cancel_at_random(client, cancels=1000, tenants=50, rng=random.Random(8)) == []
        assert await client.echo("still in step") == b"still in step"


@pytest.mark.slow
@pytest.mark.case("F08")
async def test_no_reply_reaches_another_caller_in_ten_thousand_cancellations(redis_url, redis):
    async with connect(redis_url) as client:
        assert await cancel_at_random(client, cancels=10_000, tenants=50, rng=random.Random(9)) == []


async def test_a_server_that_hangs_is_refused_in_time_and_used_again(redis_url, redis):
    async with connect(redis_url, command_deadline_s=0.2) as client:
        await client.set("a", "1")
        await redis.execute_command("CLIENT", "PAUSE", "1000", "ALL")
        with pytest.raises(RedisError):
            await client.get("a")
        with pytest.raises(RedisError):
            await client.pipeline().get("a").execute()
        await redis.ping()
        assert await client.get("a") == b"1"


async def test_an_unreachable_server_is_an_error_of_redis(tmp_path):
    async with connect(f"unix://{tmp_path}/nothing.sock") as client:
        with pytest.raises(RedisError):
            await client.ping()
        with pytest.raises((RedisError, OSError)):
            await Messages(f"unix://{tmp_path}/nothing.sock").__aenter__()


async def test_a_script_runs_whether_or_not_the_server_knows_it(redis):
    script = Script("return {KEYS[1], ARGV[1]}")
    await redis.script_flush()
    assert await script.run(redis, ["k"], [1]) == [b"k", b"1"]
    assert await script.run(redis, ["k"], [2]) == [b"k", b"2"]


async def test_a_connection_that_was_cut_tells_its_listener_and_stays_cut(redis_url, redis):
    async with Messages(redis_url) as messages:
        await messages.send("SUBSCRIBE", "c")
        assert await messages.receive() == [b"subscribe", b"c", 1]
        await redis.publish("c", b"hello")
        assert await messages.receive() == [b"message", b"c", b"hello"]
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        with pytest.raises((RedisError, OSError)):
            await messages.receive()
        with pytest.raises((RedisError, OSError)):
            await messages.receive()
        with pytest.raises(RedisError):
            await messages.send("PING")
