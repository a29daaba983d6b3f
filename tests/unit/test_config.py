"""Settings that cannot be right stop the start with one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from tracker import config
from tracker.errors import ConfigError


@pytest.mark.parametrize(
    "url",
    ["tracker.example.org", "ftp://tracker.example.org", "http://[::1", "http://", "https://a b", "https://a:99999",
     "https://a.example/?x=1", "https://a.example/#x", "https://a.example\r\nBcc: spy@a.example", "https://ä.example"],
)  # fmt: skip
def test_a_base_url_that_no_link_can_begin_with_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="base_url"):
        config.load({"TRACKER_BASE_URL": url})


@pytest.mark.parametrize(
    "url", ["", "https://tracker.example.org", "http://[::1]:8000", "http://localhost/tracker/"]
)
def test_a_web_address_or_none_is_a_good_base_url(url: str) -> None:
    assert config.load({"TRACKER_BASE_URL": url}).base_url == url.rstrip("/")


def test_a_settings_file_that_is_a_folder_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        config.load({"TRACKER_CONFIG": str(tmp_path)})


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///"])
def test_a_database_that_is_gone_at_the_next_start_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="name a file"):
        config.load({"TRACKER_DATABASE_URL": url})
