"""Logs: no secret under a key that names one, no control character that a terminal would obey."""

import json

import structlog

from app import log


def test_secrets_and_control_characters_are_defused(capsys) -> None:
    log.configure("info", "json")
    try:
        structlog.get_logger().info("x.happened", name="a\x1b[31mred\u202e", session_token="hunter2", count=3)
    finally:
        structlog.reset_defaults()

    line = capsys.readouterr().err.strip()
    event = json.loads(line)
    assert event["session_token"] == "[redacted]"
    assert event["name"] == "a\\x1b[31mred\\x202e"
    assert event["count"] == 3
    assert "\x1b" not in line
