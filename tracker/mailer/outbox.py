"""Mails as files, while no relay is set."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from time import monotonic

from tracker.mailer.parcels import Outcome, Parcel, Result, Unreachable


class Outbox:
    """A folder of .eml files named by Message-ID, so that sending again writes the same file again."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise Unreachable(f"{type(error).__name__} outbox") from None

    def send(self, parcels: Sequence[Parcel], *, seconds: float = 60) -> list[Result]:
        """Write each whole or not at all. When it returns, they survive a power cut."""
        limit = monotonic() + seconds
        results = []
        for parcel in parcels:
            if monotonic() >= limit:
                results.append(Result(parcel.number, Outcome.NOT_TRIED, "out of time"))
                continue
            try:
                self._write(parcel)
            except OSError as error:
                results.append(Result(parcel.number, Outcome.LATER, f"{type(error).__name__} outbox"))
            else:
                results.append(Result(parcel.number, Outcome.SENT, "outbox"))
        try:
            self._keep_names()
        except OSError as error:
            # Written again they are the same files, so there is nothing to doubt.
            answer = f"{type(error).__name__} outbox"
            return [
                Result(one.number, Outcome.LATER, answer) if one.outcome is Outcome.SENT else one
                for one in results
            ]
        return results

    def alive(self) -> bool:
        """A folder does not hang up."""
        return True

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, parcel: Parcel) -> None:
        path = self._folder / f"{outbox_name(parcel.message_id)}.eml"
        beside = path.with_suffix(f".{os.getpid()}.new")
        try:
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(parcel.message)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(path)
        except OSError:
            beside.unlink(missing_ok=True)
            raise

    def _keep_names(self) -> None:
        descriptor = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def outbox_name(message_id: str) -> str:
    """The name of a mail's file: the Message-ID's part before the @, or a hash of what is not plain."""
    name = message_id.strip("<>").partition("@")[0]
    return (
        name if re.fullmatch(r"[0-9a-f]{32}", name) else hashlib.sha256(message_id.encode()).hexdigest()[:32]
    )
