"""Text from clusters: links, instants and paths that pages make of it."""

import pytest

from ui.templating import instant, object_url, web_address

HOSTILE = [
    "javascript:alert(1)",
    "JaVaScRiPt:alert(1)",
    " javascript:alert(1)",
    "java\tscript:alert(1)",
    "\x01javascript:alert(1)",
    "data:text/html,<script>alert(1)</script>",
    "vbscript:x",
    "file:///etc/passwd",
    "//evil.example",
    "https:",
    "https:evil",
    "http://[",
    "https://a b",
    "",
]


@pytest.mark.case("S68")
@pytest.mark.parametrize("text", HOSTILE)
def test_only_web_addresses_become_links(text) -> None:
    assert web_address(text) == ""


@pytest.mark.case("S68")
@pytest.mark.parametrize("text", ["https://example.org/a?b=c#d", "http://127.0.0.1:80/"])
def test_web_addresses_stay_as_they_are(text) -> None:
    assert web_address(text) == text


@pytest.mark.parametrize("value", [None, "", "yesterday", "9999999999999999", float("inf"), 1e30, "<script>"])
def test_an_instant_that_makes_no_sense_is_not_known(value) -> None:
    assert instant(value) == ""


def test_names_cannot_leave_their_segment() -> None:
    assert object_url("c", "pods", "", "../../x?y#z") == "/clusters/c/pods/-/..%2F..%2Fx%3Fy%23z"
