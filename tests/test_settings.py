"""Settings come from the environment, typed; what cannot be read is told in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from worker.errors import SettingsError
from worker.settings import Settings, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of the machine reaches these tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)


DEFAULTS: dict[str, object] = {
    "comfy_log_level": "DEBUG",
    "comfy_org_api_key": None,
    "comfy_backend": "embedded",
    "comfy_host": "127.0.0.1:8188",
    "websocket_reconnect_attempts": 5,
    "websocket_reconnect_delay_s": 3.0,
    "websocket_trace": False,
    "comfy_api_available_interval_ms": 50,
    "comfy_api_available_max_retries": 0,
    "comfyui_path": None,
    "comfy_base_dir": None,
    "comfy_args": (),
    "defer_imports": "auto",
    "lazy_custom_nodes": False,
    "lazy_idle_import": False,
    "editor_dir": None,
    "bytecode_cache": "auto",
    "save_metadata": False,
    "output_format": "png",
    "output_quality": 90,
    "worker_state_dir": None,
    "max_input_mb": 100.0,
    "max_image_pixels": 178_956_970,
    "max_response_mb": None,
    "report_ui": False,
    "input_files": "media",
    "input_urls": "public",
    "output_folders": (),
    "warmup_workflow": None,
    "warmup_required": False,
    "job_timeout_s": 0.0,
    "job_stall_timeout_s": 0.0,
    "page_wait_s": 30.0,
    "freeze_timeout_s": 120.0,
    "max_job_mb": "auto",
    "max_rss_mb": "auto",
    "node_allowlist": (),
    "node_denylist": (),
    "safe_nodes": "off",
    "workflows_dir": None,
    "workflows_only": False,
    "network_volume_path": Path("/runpod-volume"),
    "network_volume_debug": False,
    "volume_custom_nodes": False,
    "model_readahead": "auto",
    "hf_token": None,
    "civitai_token": None,
    "model_sources": (),
    "model_cache_dir": None,
    "model_cache_gb": 50.0,
    "model_fetch_timeout_s": 600.0,
    "model_pickles": "refuse",
    "cached_models": "auto",
    "comfy_registry_url": "https://api.comfy.org",
    "bucket_endpoint_url": None,
    "bucket_access_key_id": None,
    "bucket_secret_access_key": None,
    "bucket_name": None,
    "bucket_region": None,
    "bucket_addressing": "auto",
    "bucket_prefix": None,
    "bucket_url_expiry_s": 604_800,
    "bucket_uploader": "worker",
    "refresh_worker": False,
    "worker_concurrency": 1,
    "serve_api_locally": False,
    "hide_env": (),
    "progress_interval_s": 1.0,
    "progress_previews": False,
    "local_api_host": "127.0.0.1",
    "local_api_port": 8000,
    "local_api_token": None,
    "local_api_hosts": (),
    "local_api_max_request_mb": None,
    "local_api_results_mb": 1024.0,
    "local_api_page": True,
    "report_metrics": "on",
    "gpu_price_per_hour": None,
    "metrics_port": 0,
    "runpod_log_level": "WARN",
    "public_key": None,
    "runpod_pod_id": None,
    "runpod_ai_api_key": None,
    "runpod_webhook_get_job": None,
}


def test_every_default() -> None:
    """Operators rely on them: a change is one of the contract, and must be made here as well."""
    assert load_settings().model_dump() == DEFAULTS


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
        ("OUTPUT_FOLDERS", "grids, maps/height/", ("grids", "maps/height")),
        (
            "MODEL_SOURCES",
            "https://HuggingFace.co:443/Comfy-Org/, a.example:8443,b.example/x/y",
            ("huggingface.co/Comfy-Org", "a.example:8443", "b.example/x/y"),
        ),
        ("PROGRESS_INTERVAL_S", "0", 0),
        ("PROGRESS_INTERVAL_S", "0.1", 0.1),
        ("PROGRESS_PREVIEWS", "True", True),
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
        ("OUTPUT_FOLDERS", "grids,/etc"),
        ("OUTPUT_FOLDERS", "a/../../b"),
        ("REPORT_METRICS", "yes"),
        ("GPU_PRICE_PER_HOUR", "-1"),
        ("GPU_PRICE_PER_HOUR", "$2.69"),
        ("GPU_PRICE_PER_HOUR", "inf"),
        ("METRICS_PORT", "70000"),
        ("METRICS_PORT", "http"),
        *(("PROGRESS_INTERVAL_S", text) for text in ("often", "-1", "0.05", "nan", "inf", "3601")),
        ("PROGRESS_PREVIEWS", "small"),
        *(
            ("MODEL_SOURCES", text)
            for text in (
                "http://a.example",
                "*",
                "*.example.com",
                "a.example/x/../y",
                "a.example//x",
                "a.example/%2e",
                "a.example?x=1",
                "me@a.example",
                "a.example:0",
                "a.example:99999",
                "/x",
                "ftp://a.example",
                "a.example/x y",
                "a.example/#x",
            )
        ),
        ("MODEL_CACHE_GB", "0"),
        ("MODEL_CACHE_GB", "inf"),
        ("MODEL_FETCH_TIMEOUT_S", "0"),
        ("MODEL_PICKLES", "true"),
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
