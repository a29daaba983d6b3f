"""Settings: one frozen object, read once from TOML files and the environment, handed to `create_app`.

Order, the later wins: `config/default.toml`, the file named by `TRACKER_CONFIG`, `TRACKER_*` variables.
An unknown key or a value of the wrong type stops the start with a sentence. No other module reads the environment.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from tracker.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
# The part before the @ has 64 characters at most (RFC 5321); a token has up to 12, a hyphen and 20.
_LONGEST_BOUNCE_NAME = 64 - len("+") - 33


@dataclass(frozen=True)
class Bucket:
    """Where exhibits are stored in an S3-compatible object store: `storage_url`, taken apart."""

    endpoint: str
    name: str
    prefix: str
    region: str
    key: str = field(repr=False)
    secret: str = field(repr=False)


@dataclass(frozen=True)
class BounceMailbox:
    """Where bounces lie: `bounce_mailbox`, taken apart. A folder, or else a mailbox on an IMAP server."""

    folder: Path | None = None
    host: str = ""
    port: int = 0
    tls: bool = True  # From the start. False: STARTTLS, or nothing on this machine itself.
    user: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    name: str = "INBOX"


def _no_trailing_slash(value: str) -> str:
    return value.rstrip("/")


class Config(BaseModel):
    """Every setting. What each is for stands in `config/default.toml`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    site_name: str = Field(min_length=1, max_length=80)
    team_name: str = Field(min_length=1, max_length=80)
    base_url: Annotated[str, AfterValidator(_no_trailing_slash)]
    host: str
    port: int = Field(ge=1, le=65535)
    data_dir: Path
    database_url: SecretStr
    mailer_keys_dir: str
    journal_dir: str
    smtp_url: SecretStr
    smtp_connections: int = Field(ge=1, le=50)
    smtp_per_minute: int = Field(ge=0)
    smtp_per_domain_minute: int = Field(ge=0)
    bounce_address: str = Field(pattern=r"^([A-Za-z0-9._-]+@[A-Za-z0-9.-]+)?$")
    bounce_mailbox: SecretStr
    digest_jitter_minutes: int = Field(ge=0, le=60)
    hold_digests: Literal["no", "one", "two"]
    storage_url: SecretStr
    exhibit_max_mb: int = Field(ge=1, le=10_000)
    exhibit_daily_mb: int = Field(ge=1)
    exhibit_free_percent: int = Field(ge=0, le=90)
    secret_key: SecretStr
    mail_from: str = Field(pattern=r"^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$")
    mail_from_name: str = Field(max_length=80, pattern=r"^[ -~]*$")
    review_months: int = Field(ge=1, le=60)
    review_wait_days: int = Field(ge=1, le=365)
    stale_days: int = Field(ge=1, le=365)
    session_hours: int = Field(ge=1, le=72)
    session_idle_minutes: int = Field(ge=5, le=24 * 60)
    setup_link_hours: int = Field(ge=1, le=24 * 30)
    confirm_link_hours: int = Field(ge=1, le=24 * 7)
    timestamp_url: str
    timestamp_roots: str
    proxy_hops: int = Field(ge=0, le=5)
    security_contact: str = Field(pattern=r"^((mailto:|https://)\S+)?$")
    capture: Literal["off", "direct", "proxy"]
    capture_proxy: SecretStr
    capture_delay_minutes: int = Field(ge=0, le=24 * 60)
    custodians_needed: int = Field(ge=1, le=9)
    log_level: Literal["debug", "info", "warning", "error"]
    reports: tuple[Path, ...]

    @property
    def data_path(self) -> Path:
        """The data folder as an absolute path."""
        return ROOT / self.data_dir

    @property
    def keys_path(self) -> Path:
        """The folder of keys, outside the database, readable by its owner only."""
        return self.data_path / "keys"

    @property
    def mailer_keys_path(self) -> Path:
        """The folder of the keys that only the process that sends mail may read."""
        return ROOT / self.mailer_keys_dir if self.mailer_keys_dir else self.keys_path

    @property
    def journal_path(self) -> Path:
        """The folder of the journal of what was sent and who left, which must not be restored with the database."""
        return ROOT / self.journal_dir if self.journal_dir else self.data_path / "journal"

    @property
    def outbox_path(self) -> Path:
        """Where mails land as .eml files while no SMTP server is set."""
        return self.data_path / "outbox"

    @property
    def incoming_path(self) -> Path:
        """Where files lie while they are received, before they are stored."""
        return self.data_path / "incoming"

    @property
    def exhibits_path(self) -> Path:
        """Where exhibits are stored while no `storage_url` is set."""
        return self.data_path / "exhibits"

    @property
    def packs_path(self) -> Path:
        """Where evidence packs for everybody lie for those who ask next. It may be emptied at any time."""
        return self.data_path / "packs"

    @property
    def bucket(self) -> Bucket | None:
        """The object store that `storage_url` names; none if exhibits are stored in `exhibits_path`."""
        url = self.storage_url.get_secret_value()
        return _bucket(url) if url else None

    @property
    def bounces(self) -> BounceMailbox | None:
        """Where `bounce_mailbox` says that bounces lie; none if nobody looks for them."""
        url = self.bounce_mailbox.get_secret_value()
        return _bounce_mailbox(url) if url else None

    @property
    def public_url(self) -> str:
        """The address that links in mails and feeds start with, without a slash at the end."""
        return self.base_url or f"http://{self.host}:{self.port}"

    @property
    def ledger_origin(self) -> str:
        """The name under which this ledger's checkpoints are signed: the site's host and "/ledger"."""
        return f"{urlsplit(self.public_url).netloc}/ledger"

    @property
    def sqlalchemy_url(self) -> str:
        """The database's address, with the SQLite file in the data folder where none is set."""
        return self.database_url.get_secret_value() or f"sqlite:///{self.data_path / 'tracker.db'}"

    @property
    def timestamp_roots_path(self) -> Path:
        """The certificates that timestamps must lead to, as an absolute path."""
        return ROOT / self.timestamp_roots

    @property
    def report_paths(self) -> tuple[Path, ...]:
        """The bundled report files as absolute paths."""
        return tuple(ROOT / path for path in self.reports)


def load(environ: Mapping[str, str] | None = None) -> Config:
    """Read the settings. Raises ConfigError, whose text names the key and what is wrong with it."""
    environ = os.environ if environ is None else environ
    values = _read_toml(ROOT / "config" / "default.toml")
    if own := environ.get("TRACKER_CONFIG"):
        values |= _read_toml(Path(own))
    for name, value in environ.items():
        if name.startswith("TRACKER_") and name != "TRACKER_CONFIG":
            key = name.removeprefix("TRACKER_").lower()
            if key not in Config.model_fields:
                raise ConfigError(
                    f"{name} is not a setting of the tracker. See config/default.toml for the names."
                )
            values[key] = value.split(os.pathsep) if key == "reports" else value
    return make(values)


def make(values: Mapping[str, Any]) -> Config:
    """Build the frozen object from plain values, or raise ConfigError with one sentence a wrong key."""
    try:
        config = Config(**values)
    except ValidationError as error:
        raise ConfigError(
            " ".join(
                f"Setting {'.'.join(str(part) for part in item['loc'])}: {_plain(item)}."
                for item in error.errors()
            )
        ) from None
    if config.base_url and not _is_web_address(config.base_url):
        raise ConfigError("Setting base_url: write an address like https://tracker.example.org, or none.")
    proxy = config.capture_proxy.get_secret_value()
    if proxy and not _is_socks_address(proxy):
        raise ConfigError(
            "Setting capture_proxy: write an address like socks5h://127.0.0.1:9050. No other kind of proxy is used."
        )
    if config.capture == "proxy" and not proxy:
        raise ConfigError(
            "Setting capture: to capture through a proxy, say which in capture_proxy, for example socks5h://127.0.0.1:9050."
        )
    if config.timestamp_url and not _is_web_address(config.timestamp_url):
        raise ConfigError(
            "Setting timestamp_url: write an address like https://tsa.example.org/tsr, or none."
        )
    if config.timestamp_url and not config.timestamp_roots:
        raise ConfigError(
            "Setting timestamp_roots: name the file of certificates that timestamps must lead to."
        )
    secret = config.secret_key.get_secret_value()
    if secret and len(secret) < 32:
        raise ConfigError(
            "Setting secret_key: at least 32 characters are needed, or none to use the key file."
        )
    if config.exhibit_daily_mb < config.exhibit_max_mb:
        raise ConfigError("Setting exhibit_daily_mb: it cannot be less than exhibit_max_mb.")
    _ = config.bucket  # Read once, so that a wrong address stops the start and not the first upload.
    if config.bounces and not config.bounce_address:
        raise ConfigError(
            "Setting bounce_address: without it no bounce says whose it is, so there is nothing to read in bounce_mailbox."
        )
    if len(config.bounce_address.partition("@")[0]) > _LONGEST_BOUNCE_NAME:
        raise ConfigError(
            f"Setting bounce_address: what stands before the @ may have {_LONGEST_BOUNCE_NAME} characters at most, because "
            "a plus and a token of up to 33 follow."
        )
    try:
        backend = make_url(config.sqlalchemy_url).get_backend_name()
    except ArgumentError:
        raise ConfigError(
            "Setting database_url: this is not a database address. Example: postgresql://user@host/name."
        ) from None
    if backend == "sqlite" and not make_url(config.sqlalchemy_url).database:
        raise ConfigError("Setting database_url: name a file, for example sqlite:////srv/tracker.db.")
    if backend not in ("sqlite", "postgresql"):
        raise ConfigError(f"Setting database_url: {backend} is not supported; use sqlite or postgresql.")
    return config


def _bucket(url: str) -> Bucket:
    """Take s3://KEY:SECRET@host[:port]/bucket[/prefix][?region=…&tls=no] apart. No sentence repeats the secret."""
    try:
        parts = urlsplit(url)
        options = dict(parse_qsl(parts.query, strict_parsing=True)) if parts.query else {}
        port = parts.port
    except ValueError:
        raise ConfigError(
            "Setting storage_url: this is not an address. In the key and the secret write / as %2F, + as %2B, "
            ": as %3A, @ as %40, # as %23, ? as %3F and % as %25."
        ) from None
    name, _, prefix = parts.path.strip("/").partition("/")
    wrong = None
    if parts.scheme != "s3" or not re.fullmatch(r"[A-Za-z0-9.:-]+", parts.hostname or "") or port == 0:
        wrong = "write s3://KEY:SECRET@host/bucket, or nothing for a folder"
    elif not parts.username or not parts.password:
        wrong = "the key and the secret are missing before the @"
    elif not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", name):
        wrong = (
            "name a bucket after the host; its name has 3 to 63 lower-case letters, digits, dots or hyphens"
        )
    elif prefix and not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*", prefix):
        wrong = "the folder after the bucket may hold letters, digits, dots, hyphens and underscores only"
    elif parts.fragment or set(options) - {"region", "tls"}:
        wrong = "only region= and tls= may stand after the question mark"
    elif options.get("tls", "yes") not in ("yes", "no"):
        wrong = "tls is yes or no"
    if wrong:
        raise ConfigError(f"Setting storage_url: {wrong}.")
    host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
    return Bucket(
        endpoint=f"{'http' if options.get('tls') == 'no' else 'https'}://{host}{f':{port}' if port else ''}",
        name=name,
        prefix=prefix,
        region=options.get("region", "us-east-1"),
        key=unquote(str(parts.username)),
        secret=unquote(str(parts.password)),
    )


def _bounce_mailbox(url: str) -> BounceMailbox:
    """Take maildir:/path or imap(s)://user:password@host[:port]/mailbox apart. No sentence repeats the password."""
    if url.startswith("maildir:"):
        folder = Path(url.removeprefix("maildir:"))
        if not folder.is_absolute():
            raise ConfigError("Setting bounce_mailbox: write the whole path, like maildir:/var/mail/bounces.")
        return BounceMailbox(folder=folder)
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ConfigError(
            "Setting bounce_mailbox: this is not an address. In the user and the password write / as %2F, : as %3A, "
            "@ as %40, # as %23, ? as %3F and % as %25."
        ) from None
    user, password = unquote(parts.username or ""), unquote(parts.password or "")
    name = unquote(parts.path.removeprefix("/")) or "INBOX"
    wrong = None
    if parts.scheme not in ("imap", "imaps") or not re.fullmatch(r"[A-Za-z0-9.:-]+", parts.hostname or ""):
        wrong = "write maildir:/path or imaps://user:password@host/INBOX, or nothing"
    elif port == 0 or parts.query or parts.fragment:
        wrong = "after the host may stand a port and the name of the mailbox, and nothing more"
    elif not user or not password:
        wrong = "the user and the password are missing before the @"
    elif re.search(r"[\x00-\x1f\x7f]", user + password):
        wrong = "there is a control character in the user or the password"
    elif not re.fullmatch(r"[ -~]{1,200}", name):
        wrong = "the name of the mailbox may hold plain letters, digits and signs only"
    if wrong:
        raise ConfigError(f"Setting bounce_mailbox: {wrong}.")
    tls = parts.scheme == "imaps"
    return BounceMailbox(None, str(parts.hostname), port or (993 if tls else 143), tls, user, password, name)


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
    # Links in mails, and so the header for leaving, begin with it.
    return good and re.fullmatch(r"[!-~]+", url) is not None and not (parts.query or parts.fragment)


def _is_socks_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        good = parts.scheme == "socks5h" and bool(parts.hostname) and bool(parts.port)
    except ValueError:
        return False
    # Longer names and passwords do not fit into the protocol.
    return good and not (parts.path.strip("/") or parts.query or parts.fragment) and len(url) < 500


def _plain(item: ErrorDetails) -> str:
    if item["type"] == "extra_forbidden":
        return "this is not a setting of the tracker; config/default.toml has the names"
    return item["msg"]


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"The settings file {path} does not exist.") from None
    except OSError as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"The settings file {path} cannot be read: {error}.") from None
