"""The gateway: every request passes these layers, in this order, before a route is looked for."""

from litestar.types import ASGIApp

from app.gateway.bodies import BoundedBody
from app.gateway.origins import origins
from app.gateway.problem_documents import ProblemDocuments, Render
from app.gateway.request_log import RequestLog
from app.gateway.same_origin import AllowedHosts, SameOrigin
from app.gateway.security_headers import SecurityHeaders
from app.settings import Settings


def wrap(app: ASGIApp, settings: Settings, render: Render) -> ASGIApp:
    """`app` behind the gateway. Read it from the last line up: the last layer is the outermost."""
    own = origins(settings)
    app = BoundedBody(app)
    app = SameOrigin(app)
    app = AllowedHosts(app, origins=own)
    app = ProblemDocuments(app, render=render)
    app = SecurityHeaders(app, tls=own.scheme == "https")
    return RequestLog(app)
