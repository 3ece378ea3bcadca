"""Settings: environment and file into one struct, errors that name the setting, secrets that never show."""

from pathlib import Path

import pytest

from app.settings import Secret, SettingsError, load, redacted


def test_environment_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "kubenexus.toml"
    file.write_text('port = 9000\nhost = "0.0.0.0"\n')

    settings = load({"KUBENEXUS_PORT": "9001", "KUBENEXUS_CONFIG": str(file), "HOME": "/x"})

    assert (settings.port, settings.host) == (9001, "0.0.0.0")


@pytest.mark.parametrize(
    ("environ", "named"),
    [
        ({"KUBENEXUS_PORT": "many"}, "port"),
        ({"KUBENEXUS_COLOUR": "red"}, "colour"),
        ({"KUBENEXUS_LOG_LEVEL": "loud"}, "log_level"),
    ],
)
def test_a_bad_setting_is_named(environ: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        load(environ)


def test_a_broken_or_missing_file_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken.toml"
    broken.write_text("port = ")

    with pytest.raises(SettingsError, match="not TOML"):
        load({}, broken)
    with pytest.raises(SettingsError, match="cannot read"):
        load({}, tmp_path / "none.toml")


def test_secrets_never_show() -> None:
    settings = load({"KUBENEXUS_DATABASE_URL": "postgresql://u:hunter2@db/x", "KUBENEXUS_ENCRYPTION_KEY": "hunter2"})

    shown = f"{settings} {settings!r} {redacted(settings)} {settings.database_url}"

    assert "hunter2" not in shown
    assert settings.database_url == Secret("postgresql://u:hunter2@db/x")
    assert redacted(settings)["database_url"] == "Secret(redacted)"
    assert redacted(settings)["redis_url"] == "Secret(empty)"
