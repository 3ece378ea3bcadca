"""The OpenAPI 3.1 document of the HTTP API, made right where Litestar's is not, and the page that shows it.

Litestar documents errors in its own form and leaves out that unknown fields are refused; here every operation has the
problem document that it really gives, and closed objects say so.
"""

from typing import Any, Final

import msgspec
from litestar import Request, Router
from litestar.openapi.config import OpenAPIConfig
from litestar.openapi.plugins import JsonRenderPlugin, OpenAPIRenderPlugin
from litestar.openapi.spec import Components, SecurityScheme

from app.authz.guards import signed_in
from app.gateway.problem_documents import JSON, ProblemDocument
from app.gateway.security_headers import drop_trusted_types, nonce

PATH: Final = "/docs"
VERSION: Final = "0.1.0"
PROBLEM: Final = {"$ref": "#/components/schemas/ProblemDocument"}
# What any operation may answer, whatever it does.
ALWAYS: Final = {
    "401": "Nobody is signed in.",
    "403": "The caller may not do this, or a page of another site asked.",
    "503": "PostgreSQL, Redis or another part does not answer.",
}
METHODS: Final = frozenset({"get", "put", "post", "delete", "patch"})


class _Document(JsonRenderPlugin):
    """`/docs/openapi.json`."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        del request
        return document(openapi_schema)


class _Page(OpenAPIRenderPlugin):
    """`/docs`: Swagger UI from our own files."""

    def render(self, request: Request[Any, Any, Any], openapi_schema: dict[str, Any]) -> bytes:
        del openapi_schema
        drop_trusted_types(request.scope)  # React sets innerHTML for its icons
        return _PAGE.format(nonce=nonce(request.scope), path=PATH).encode()


_PAGE: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>HTTP API - KubeNexus</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="/static/vendor/swagger-ui/swagger-ui.css">
</head>
<body>
<div id="api"></div>
<script src="/static/vendor/swagger-ui/swagger-ui-bundle.js"></script>
<script nonce="{nonce}">
document.documentElement.classList.toggle("dark-mode", matchMedia("(prefers-color-scheme: dark)").matches);
SwaggerUIBundle({{url: "{path}/openapi.json", dom_id: "#api", deepLinking: true, validatorUrl: null}});
</script>
</body>
</html>
"""


def config() -> OpenAPIConfig:
    """What Litestar needs to know; who is signed in may read it."""
    return OpenAPIConfig(
        title="KubeNexus",
        version=VERSION,
        description="Every cluster, live. Errors are problem documents (RFC 9457).",
        use_handler_docstrings=True,
        components=Components(
            security_schemes={
                "session": SecurityScheme(
                    type="apiKey",
                    name="kubenexus",
                    security_scheme_in="cookie",
                    description="From POST /api/v1/session; called __Host-kubenexus where the server speaks TLS.",
                )
            }
        ),
        security=[{"session": []}],
        render_plugins=[_Page(path="/"), _Document(path="/openapi.json")],
        openapi_router=Router(PATH, route_handlers=[], guards=[signed_in()], include_in_schema=False),
    )


def document(schema: dict[str, Any]) -> bytes:
    """The JSON of a document that Litestar made, with true errors and closed objects."""
    made: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(schema, enc_hook=str))
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem, parts = msgspec.json.schema_components([ProblemDocument], ref_template="#/components/schemas/{name}")
    del problem
    schemas.update(parts)
    for item in made["paths"].values():
        for method, operation in item.items():
            if method in METHODS:
                operation["summary"] = operation.get("description", operation["summary"]).partition("\n")[0].rstrip(".")
                _errors(operation)
    for component in schemas.values():
        if component.get("type") == "object" and "properties" in component:
            component.setdefault("additionalProperties", False)
    return msgspec.json.encode(made)


def _errors(operation: dict[str, Any]) -> None:
    responses = {code: said for code, said in operation["responses"].items() if code < "400"}
    said = dict(ALWAYS)
    if "requestBody" in operation or operation.get("parameters"):
        said["422"] = "The input cannot be used: `errors` has a sentence for each field."
    if any(parameter["in"] == "path" for parameter in operation.get("parameters", ())):
        said["404"] = "There is no such thing, or the caller may not see it."
    for code in sorted(said):
        responses[code] = {"description": said[code], "content": {JSON: {"schema": PROBLEM}}}
    operation["responses"] = responses
