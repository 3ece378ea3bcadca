"""An API server that gives back recorded answers by path and Accept: what our client makes of real bytes."""

from pathlib import Path
from typing import Any

from .fault_apiserver import Exchange, FaultServer

RECORDED = Path(__file__).parents[1] / "fixtures" / "kubernetes-traffic"


def read(name: str) -> bytes:
    return (RECORDED / name).read_bytes()


class RecordedServer(FaultServer):
    """routes: path -> the file of the answer, or (status, body)."""

    def __init__(self, routes: dict[str, Any]) -> None:
        super().__init__()
        self.always("any", self._play)
        self.routes = routes

    async def _play(self, exchange: Exchange) -> None:
        route = self.routes.get(exchange.request.path)
        if route is None:
            await exchange.answer(404, b"404 page not found\n", type_="text/plain; charset=utf-8")
        elif isinstance(route, str):
            await exchange.answer(200, read(route))
        else:
            status, body = route
            await exchange.answer(status, body)
