"""The error page that needs nothing but itself; `ui` has a better one, with the layout."""

from html import escape

from app.gateway.problem_documents import ErrorPage


def render(page: ErrorPage) -> str:
    """A whole page, or for a script the sentence alone."""
    problem = page.problem
    text = f'<p role="alert">{escape(problem.detail)}</p>'
    if page.fragment:
        return text
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(problem.title)} - KubeNexus</title></head>"
        f'<body><h1>{escape(problem.title)}</h1>{text}<p>Request {escape(problem.request_id)}</p><a href="/">Home</a>'
        "</body></html>"
    )
