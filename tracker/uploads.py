"""Receiving files: a request whose file goes straight to the disk, counted and hashed, never whole in memory.

A view that takes a file is marked with `takes_file`. Before its body is read, `prepare` refuses what is too large, what
would fill the disk and what is over the person's daily limit. What a view has not finished is thrown away at the end.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import IO, Any, TypeVar

from flask import Flask, Request, current_app, request

from tracker import storage
from tracker.config import Config
from tracker.errors import TooLarge
from tracker.vocabulary import N_

View = TypeVar("View", bound=Callable[..., object])

MB = 1024 * 1024
# What the other fields of the form and the wrapping of the parts may take.
_REST = 256 * 1024
#: How an upload is called that somebody may watch.
NAME = re.compile(r"[0-9a-f]{16}")


class UploadRequest(Request):
    """A request that may carry one file to a view that takes files."""

    receiving: Config | None = None

    def _get_file_stream(
        self,
        total_content_length: int | None,
        content_type: str | None,
        filename: str | None = None,
        content_length: int | None = None,
    ) -> IO[bytes]:
        if self.receiving is None:
            return super()._get_file_stream(total_content_length, content_type, filename, content_length)
        name = None
        if not self.receivers and NAME.fullmatch(self.args.get("upload", "")):
            # The page of progress finds the file by this name and reads from it how much is expected.
            name = f"{self.args['upload']}{min(total_content_length or 0, 10**12 - 1):012d}"
        receiver = storage.receive(self.receiving, limit=self.receiving.exhibit_max_mb * MB, name=name)
        self.receivers.append(receiver)
        return receiver  # type: ignore[return-value]

    @property
    def receivers(self) -> list[storage.Receiver]:
        """What was received with this request, finished or not."""
        found: list[storage.Receiver] = self.__dict__.setdefault("_receivers", [])
        return found


def takes_file(view: View) -> View:
    """This view takes a file: its requests may be as large as an exhibit."""
    view.takes_file = True  # type: ignore[attr-defined]
    return view


def new_name() -> str:
    """A name under which the progress of one upload can be watched."""
    return secrets.token_hex(8)


def init_app(app: Flask) -> None:
    """Use the request class, and throw away at the end of a request what nobody finished."""
    app.request_class = UploadRequest

    @app.teardown_request
    def throw_away(_error: BaseException | None) -> None:
        for receiver in getattr(request, "receivers", []):
            receiver.discard()


def prepare() -> None:
    """Before the body of an upload is read: let it be large, and refuse at once what cannot be taken."""
    view: Any = current_app.view_functions.get(request.endpoint or "")
    if request.method != "POST" or not getattr(view, "takes_file", False):
        return
    config: Config = current_app.extensions["settings"]
    most = config.exhibit_max_mb * MB + _REST
    request.max_content_length = most
    assert isinstance(request, UploadRequest) or hasattr(request, "receivers")
    if (request.content_length or 0) > most:
        _read_away(2 * most)
        raise TooLarge(
            N_("The file is larger than %(limit)d MB, which is the most this site takes."),
            limit=config.exhibit_max_mb,
        )
    storage.check_room(config, request.content_length or 0)
    request.receiving = config  # type: ignore[attr-defined]


def _read_away(most: int) -> None:
    # Browsers show our sentence only after they were able to send what they had begun.
    left = min(request.content_length or 0, most)
    while left > 0 and (piece := request.environ["wsgi.input"].read(min(left, MB))):
        left -= len(piece)
