"""The push peer: Litestar's own `ServerSentEvent`, ten 500-byte frames a second to each client. Prints its port."""

import asyncio
import socket
import sys
from collections.abc import AsyncIterator

import uvicorn
from litestar import Litestar, get
from litestar.response import ServerSentEvent

FRAME = "x" * 480


async def frames() -> AsyncIterator[str]:
    while True:
        await asyncio.sleep(0.1)
        yield FRAME


@get("/", sync_to_thread=False)
def stream() -> ServerSentEvent:
    return ServerSentEvent(frames())


def main() -> None:
    listener = socket.create_server(("127.0.0.1", 0), backlog=4096)
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    config = uvicorn.Config(Litestar([stream]), loop="uvloop", http="httptools", log_level="error", access_log=False)
    asyncio.run(uvicorn.Server(config).serve(sockets=[listener]))


if __name__ == "__main__":
    main()
