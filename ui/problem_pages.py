"""Pages for errors: what happened, to what, and what to do; a form that failed comes again with its sentences."""

from typing import Final

from app.gateway.problem_documents import ErrorPage
from ui.pages.sign_in import sign_in_html
from ui.templating import render

ADVICE: Final = {
    401: "Sign in, then try again.",
    403: "Ask an administrator of this platform for the right, or sign in as somebody who has it.",
    404: "Check the address, or look for it from the fleet.",
    409: "Look at it again and repeat the change.",
    422: "Go back, correct the input and send it again.",
    429: "Wait a moment before the next try.",
    500: "Try it again. If it stays, give the request's number to whoever runs this server: it is in the log.",
    502: "The cluster's own API server failed. Its page shows since when.",
    503: "It is tried again by itself. Reload this page in a few seconds.",
    504: "The cluster does not answer. Its page shows since when.",
}


def render_error(error: ErrorPage) -> str:
    """A whole page, or for a script the sentence alone."""
    problem = error.problem
    if error.fragment:
        return render("problems/_fragment.html", problem=problem)
    if error.path == "/sign-in" and problem.status != 404:
        onward = error.entered.get("next", "/")
        return sign_in_html(error.nonce, name=error.entered.get("name", ""), onward=onward, fault=problem.detail)
    if error.path == "/sign-in/link":
        return render("sign_in/link.html", nonce=error.nonce, fault=problem.detail)
    if error.path == "/account/password" and problem.status in {401, 403, 409, 422, 429}:
        errors = problem.errors or {"": problem.detail}
        return render("sign_in/password.html", nonce=error.nonce, errors=errors, name="", expired=False)
    advice = ADVICE.get(problem.status, ADVICE[500] if problem.status >= 500 else ADVICE[404])
    return render("problems/index.html", nonce=error.nonce, problem=problem, advice=advice)
