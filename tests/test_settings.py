"""Settings come from the environment, typed; what cannot be read is told in one line."""

from __future__ import annotations

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches these tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


def test_defaults_are_the_documented_ones() -> None:
    settings = load_settings()
    assert settings.comfy_log_level == "DEBUG"
    assert settings.save_metadata is False
    assert settings.comfy_args == ()
    assert settings.comfy_org_api_key is None


@pytest.mark.parametrize(
    ("name", "text", "value"),
    [
        ("COMFY_LOG_LEVEL", "warning", "WARNING"),
        ("COMFY_ARGS", "--highvram --reserve-vram '1.5'", ("--highvram", "--reserve-vram", "1.5")),
        ("SAVE_METADATA", "TRUE", True),
        ("SAVE_METADATA", "False", False),
        ("MAX_INPUT_MB", "2.5", 2.5),
        ("MAX_IMAGE_PIXELS", "1000", 1000),
        ("COMFY_LOG_LEVEL", "", "DEBUG"),
    ],
)
def test_a_variable_is_read_as_its_type(monkeypatch: pytest.MonkeyPatch, name: str, text: str, value: object) -> None:
    monkeypatch.setenv(name, text)
    assert getattr(load_settings(), name.lower()) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("COMFY_LOG_LEVEL", "loud"),
        ("SAVE_METADATA", "yes"),
        ("SAVE_METADATA", "1"),
        ("MAX_INPUT_MB", "abc"),
        ("MAX_INPUT_MB", "0"),
        ("MAX_IMAGE_PIXELS", "-5"),
        ("COMFY_ARGS", "--a 'unclosed"),
    ],
)
def test_what_cannot_be_read_is_named_in_one_line(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    message = str(caught.value)
    assert name in message
    assert text in message
    assert "it takes" in message
    assert "\n" not in message


def test_secrets_are_masked_where_settings_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMFY_ORG_API_KEY", "very-secret")
    settings = load_settings()
    assert settings.comfy_org_api_key is not None
    assert settings.comfy_org_api_key.get_secret_value() == "very-secret"
    assert "very-secret" not in repr(settings)
    assert ("COMFY_ORG_API_KEY", "********") in [row[:2] for row in settings.documented()]


def test_every_setting_says_what_it_is_and_what_it_takes() -> None:
    for name, field in Settings.model_fields.items():
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["takes"], name
