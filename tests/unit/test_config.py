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


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("exhibits", "write s3://"), ("https://k:hush@a.example/exhibits", "write s3://"), ("s3://", "write s3://"),
        ("s3://k:hush@a.example:0/exhibits", "write s3://"), ("s3://k:hush@/exhibits", "write s3://"),
        ("s3://k:hush@a b.example/exhibits", "write s3://"), ("s3://k:hush@a.example:99999/exhibits", "%2F"),
        ("s3://k:hush/hush@a.example/exhibits", "%2F"), ("s3://[::1/exhibits", "%2F"),
        ("s3://a.example/exhibits", "key and the secret"), ("s3://k@a.example/exhibits", "key and the secret"),
        ("s3://:hush@a.example/exhibits", "key and the secret"), ("s3://k:hush@a.example", "name a bucket"),
        ("s3://k:hush@a.example/", "name a bucket"), ("s3://k:hush@a.example/Ex", "name a bucket"),
        ("s3://k:hush@a.example/exhibits/../x", "the folder after"), ("s3://k:hush@a.example/exhibits//x", "the folder after"),
        ("s3://k:hush@a.example/exhibits/a b", "the folder after"), ("s3://k:hush@a.example/exhibits?tls=maybe", "tls is"),
        ("s3://k:hush@a.example/exhibits?zone=x", "only region="), ("s3://k:hush@a.example/exhibits?tls", "%2F"),
        ("s3://k:hush@a.example/exhibits#x", "only region="),
    ],
)  # fmt: skip
def test_an_object_store_that_cannot_be_reached_so_is_refused_without_repeating_the_secret(
    url: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match="Setting storage_url: ") as caught:
        config.load({"TRACKER_STORAGE_URL": url})
    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_an_object_store_is_read_from_its_address() -> None:
    url = "s3://AKIA%2BX:a%2Fb%2Bc%3A%40%25@s3.arvenia.example:9000/exhibits/tracker/a.b?region=arvenia-1&tls=no"
    bucket = config.load({"TRACKER_STORAGE_URL": url}).bucket
    assert bucket == config.Bucket(
        "http://s3.arvenia.example:9000", "exhibits", "tracker/a.b", "arvenia-1", "AKIA+X", "a/b+c:@%"
    )
    bare = config.load({"TRACKER_STORAGE_URL": "s3://k:s@[::1]/exhibits/"}).bucket
    assert bare == config.Bucket("https://[::1]", "exhibits", "", "us-east-1", "k", "s")
    assert "s3cret" not in repr(config.load({"TRACKER_STORAGE_URL": "s3://k:s3cret@a.example/exhibits"}))
    assert "s3cret" not in repr(config.Bucket("", "", "", "", "k", "s3cret"))
    assert config.load({}).bucket is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("EXHIBIT_MAX_MB", "0"), ("EXHIBIT_MAX_MB", "10001"), ("EXHIBIT_MAX_MB", "many"), ("EXHIBIT_DAILY_MB", "199"),
     ("EXHIBIT_FREE_PERCENT", "-1"), ("EXHIBIT_FREE_PERCENT", "91")],
)  # fmt: skip
def test_limits_for_exhibits_that_cannot_be_meant_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"Setting {name.lower()}"):
        config.load({f"TRACKER_{name}": value})


BOUNCES = {"TRACKER_BOUNCE_ADDRESS": "bounce@arvenia.example"}


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("mail", "write maildir:"), ("maildir:bounces", "the whole path"), ("pop3://u:hush@a.example/", "write maildir:"),
        ("imaps:///INBOX", "write maildir:"), ("imaps://u:hush@a b/INBOX", "write maildir:"),
        ("imaps://u:hush@a.example:99999/INBOX", "%40"), ("imaps://u:hush@a.example:0/INBOX", "nothing more"),
        ("imaps://u:hush@a.example/INBOX?x", "nothing more"), ("imaps://u:hush@a.example/#x", "nothing more"),
        ("imaps://a.example/INBOX", "are missing"), ("imaps://u@a.example/INBOX", "are missing"),
        ("imaps://u:hush%0D%0Ax@a.example/INBOX", "control character"), ("imaps://u:hush@a.example/B%C3%BCcher", "plain letters"),
        ("imaps://u:hush@a.example/a%0Ab", "plain letters"), ("imaps://u:hush@[::1/INBOX", "%40"),
    ],
)  # fmt: skip
def test_a_mailbox_of_bounces_that_cannot_be_read_so_is_refused_without_repeating_the_password(
    url: str, sentence: str
) -> None:
    with pytest.raises(ConfigError, match="Setting bounce_mailbox: ") as caught:
        config.load({"TRACKER_BOUNCE_MAILBOX": url, **BOUNCES})

    assert sentence in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_mailbox_of_bounces_is_taken_apart_and_shows_no_password() -> None:
    def read(url: str) -> config.BounceMailbox | None:
        return config.load({"TRACKER_BOUNCE_MAILBOX": url, **BOUNCES}).bounces

    assert read("") is None
    assert read("maildir:/var/mail/bounces") == config.BounceMailbox(folder=Path("/var/mail/bounces"))
    imaps = read("imaps://b%40a.example:p%3Ah%C3%BCsh@mail.a.example")
    assert imaps == config.BounceMailbox(None, "mail.a.example", 993, True, "b@a.example", "p:hüsh", "INBOX")
    assert "hüsh" not in repr(imaps)
    starttls = read("imap://b:hush@[::1]:1143/Bounces%20here")
    assert starttls == config.BounceMailbox(None, "::1", 1143, False, "b", "hush", "Bounces here")


def test_a_mailbox_without_a_bounce_address_and_a_bounce_address_that_is_too_long_are_refused() -> None:
    with pytest.raises(ConfigError, match="Setting bounce_address: without it"):
        config.load({"TRACKER_BOUNCE_MAILBOX": "maildir:/var/mail/bounces"})
    with pytest.raises(ConfigError, match="30 characters at most"):
        config.load({"TRACKER_BOUNCE_ADDRESS": f"{'b' * 31}@arvenia.example"})
