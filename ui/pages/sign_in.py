"""Signing in, a one-time link, and choosing a new password. The forms themselves are answered by `app.authn`."""

from litestar import Response, get
from litestar.di import NamedDependency
from litestar.enums import MediaType

from app.authn.cookies import local_path
from app.authn.middleware import IDENTIFY
from app.authz.guards import PUBLIC, signed_in
from app.authz.identity import Identity
from app.gateway.security_headers import nonce
from ui.shell import AnyRequest
from ui.templating import render

_PUBLIC = {PUBLIC: "Whoever signs in has no session yet.", IDENTIFY: True}


def sign_in_html(page_nonce: str, *, name: str = "", onward: str = "/", fault: str = "") -> str:
    return render("sign_in/index.html", nonce=page_nonce, name=name, onward=onward, fault=fault)


@get("/sign-in", opt=_PUBLIC, include_in_schema=False)
async def sign_in_page(request: AnyRequest) -> Response[str]:
    """The form; `next` leads on to a path of ours only."""
    onward = local_path(request.query_params.get("next", "/"))
    return _html(sign_in_html(nonce(request.scope), onward=onward))


@get("/sign-in/link", opt=_PUBLIC, include_in_schema=False)
async def link_page(request: AnyRequest) -> Response[str]:
    """A button that uses the link up: fetching the page alone must not, for mail scanners and previews fetch too.

    The token is behind "#", so that no server log and no Referer has it; a script puts it into the form.
    """
    return _html(render("sign_in/link.html", nonce=nonce(request.scope), fault=""))


@get("/account/password", guards=[signed_in()], include_in_schema=False)
async def password_page(request: AnyRequest, identity: NamedDependency[Identity]) -> Response[str]:
    """Choose a new password."""
    return _html(
        render(
            "sign_in/password.html",
            nonce=nonce(request.scope),
            errors={},
            name=identity.name,
            expired=identity.password_expired,
        )
    )


def _html(text: str) -> Response[str]:
    return Response(text, media_type=MediaType.HTML)
