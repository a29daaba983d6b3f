"""Mails through an SMTP relay: one dialogue for each, or, where the relay offers pipelining (RFC 2920), one round trip.

A pipelined round trip is one write: a message, its dot, and the envelope of the next mail. DATA is the last command of
it, so no message leaves before the relay has said 354 to it.
"""

from __future__ import annotations

import smtplib
import socket
from collections.abc import Iterator, Sequence
from contextlib import suppress
from time import monotonic

from tracker.mailer.opening import Patience
from tracker.mailer.parcels import Outcome, Parcel, Result
from tracker.mailer.replies import GarbledReply, Reader

_DOT = b".\r\n"
_Commands = list[tuple[str, bytes]]


class _Lost(Exception):
    """The conversation is over. `answered`: the server said so itself (421)."""

    #: What the server had refused before it was.
    refusal: tuple[int, str] | None = None

    def __init__(self, answer: str, *, answered: bool = False) -> None:
        self.answer, self.answered = answer, answered
        super().__init__(answer)


class Relay:
    """A relay that has said hello. One thread uses it, for batch after batch."""

    def __init__(self, smtp: smtplib.SMTP, reader: Reader, patience: Patience) -> None:
        self._smtp, self._reader, self._patience = smtp, reader, patience
        self._sock: socket.socket | None = smtp.sock
        self._pipelining = smtp.has_extn("pipelining")
        self._begun = False  # MAIL was accepted and nothing has ended it: RSET must come before the next.
        self._proven = False  # Some mail was answered for on this connection.
        self._used = monotonic()

    def send(self, parcels: Sequence[Parcel], *, seconds: float = 60) -> list[Result]:
        """See `Connection.send`. On a fresh connection at least the first parcel is tried, if there is time."""
        results: list[Result] = []
        try:
            results.extend(self._conversation(parcels, monotonic() + seconds))
        except BaseException:
            # Nobody knows what the relay will answer next.
            self._hang_up()
            raise
        self._used = monotonic()
        why = "out of time" if self._sock is not None else "connection gone"
        return results + [Result(parcel.number, Outcome.NOT_TRIED, why) for parcel in parcels[len(results) :]]

    def alive(self) -> bool:
        """See `Connection.alive`."""
        if self._sock is None:
            return False
        try:
            self._nothing_said("NOOP")
            if monotonic() - self._used > self._patience.idle:
                self._write(b"NOOP\r\n", "NOOP")
                if self._reply("NOOP", monotonic() + self._patience.stage) // 100 != 2:
                    raise _Lost("NOOP")
                self._used = monotonic()
        except _Lost:
            self._hang_up()
            return False
        return True

    def close(self) -> None:
        """See `Connection.close`."""
        if self._sock is not None:
            with suppress(_Lost):
                self._write(b"QUIT\r\n", "QUIT")
                self._reply("QUIT", monotonic() + min(5, self._patience.stage))
            self._hang_up()

    def _hang_up(self) -> None:
        self._smtp.close()
        self._sock = None

    def _conversation(self, parcels: Sequence[Parcel], limit: float) -> Iterator[Result]:
        if not parcels:
            return
        # A fresh one that does not answer counts for its first mail: else everybody would try it for ever.
        if self._proven and not self.alive():
            return
        said: _Commands = []
        for parcel, following in zip(parcels, [*parcels[1:], None], strict=True):
            # An envelope that was pipelined may be answered a while after the limit, because the dot before it was.
            if monotonic() >= limit + (self._patience.stage if said else 0):
                if said:
                    self._hang_up()
                return
            result, said = self._deliver(parcel, said, following, limit)
            if result is None:
                return
            yield result
            if self._sock is None:
                return

    def _deliver(
        self, parcel: Parcel, said: _Commands, following: Parcel | None, limit: float
    ) -> tuple[Result | None, _Commands]:
        """One parcel whose envelope was `said` or not. Also what was said of the next one's envelope."""
        begun = bool(said)
        dot_left = False
        refusal: tuple[int, str] | None = None
        ahead: _Commands = []
        try:
            if not said:
                self._nothing_said("MAIL")
                begun = True
            refusal, data = self._introduce(parcel, said, limit)
            if following is not None and self._pipelining and monotonic() < limit:
                ahead = _commands(following, reset=self._begun and data // 100 != 3)
            words = b"".join(command for _, command in ahead)
            code = 0
            if data // 100 == 3:
                if refusal is not None and refusal[1] != "RCPT":
                    # Nobody should want a message without a sender. A dot might give it one.
                    raise _Lost("354 DATA")
                self._nothing_said("DATA")
                ending = (_stuffed(parcel.message) if refusal is None else b"") + _DOT
                self._write(ending + words, "message", needed=len(ending))
                dot_left = refusal is None
                code = self._reply("end of DATA", monotonic() + self._patience.dot)
                if code // 100 == 3:
                    raise _Lost(f"{code} end of DATA")
                self._begun = False
            elif words:
                self._nothing_said("MAIL")
                self._write(words, "MAIL")
            self._proven = True
        except _Lost as lost:
            self._hang_up()
            lost.refusal = lost.refusal or refusal
            return self._lost(parcel, lost, begun=begun, dot_left=dot_left), []
        return _judged(parcel, *(refusal or (code, "end of DATA"))), ahead

    def _introduce(self, parcel: Parcel, said: _Commands, limit: float) -> tuple[tuple[int, str] | None, int]:
        """The envelope and DATA: the first refusal with its stage, and the answer to DATA, if it was asked."""
        by = min(monotonic(), limit) + self._patience.stage
        commands = said or _commands(parcel, reset=self._begun)
        if self._pipelining and not said:
            self._write(b"".join(command for _, command in commands), "MAIL")
        refusal = None
        code = 0
        for stage, command in commands:
            try:
                if not self._pipelining:
                    self._nothing_said(stage)
                    self._write(command, stage)
                code = self._reply(stage, by)
                if code // 100 == (3 if stage == "DATA" else 2):
                    if stage in ("RSET", "MAIL"):
                        self._begun = stage == "MAIL"
                    continue
                if code < 400 or stage == "RSET":
                    # An answer to something else: from here on nothing could be told apart.
                    raise _Lost(f"{code} {stage}")
            except _Lost as lost:
                lost.refusal = refusal
                raise
            refusal = refusal or (code, stage)
            if not self._pipelining:
                return refusal, 0
        return refusal, code

    def _lost(self, parcel: Parcel, lost: _Lost, *, begun: bool, dot_left: bool) -> Result | None:
        """What became of a parcel in whose middle the connection was lost. None: it was as good as not begun."""
        if lost.refusal is not None:
            return _judged(parcel, *lost.refusal)
        if dot_left and not lost.answered:
            return Result(parcel.number, Outcome.DOUBTFUL, lost.answer)
        early = not begun or lost.answer.endswith((" MAIL", " RSET"))
        if self._proven and early and not lost.answered:
            return None
        return Result(parcel.number, Outcome.LATER, lost.answer)

    def _nothing_said(self, stage: str) -> None:
        """The relay waits for us. If it has said something nobody asked for, its answers cannot be told apart."""
        assert self._sock is not None
        try:
            early = self._reader.early(self._sock)
        except OSError as error:
            raise _Lost(f"{type(error).__name__} {stage}") from None
        if early:
            code = self._reply(stage, monotonic() + min(5, self._patience.stage))
            raise _Lost(f"{code} early {stage}")

    def _reply(self, stage: str, by: float) -> int:
        assert self._sock is not None
        try:
            code, _ = self._reader.reply(self._sock, by)
        except (OSError, GarbledReply) as error:
            raise _Lost(f"{type(error).__name__} {stage}") from None
        if code == 421:
            raise _Lost(f"421 {stage}", answered=True)
        return code

    def _write(self, content: bytes, stage: str, *, needed: int | None = None) -> None:
        """Write all of it. When it raises, not even the first `needed` bytes (all of it) have left as a whole."""
        assert self._sock is not None
        by = monotonic() + self._patience.stage
        left = memoryview(content)
        needed = len(content) if needed is None else needed
        try:
            while left:
                wait = by - monotonic()
                if wait <= 0:
                    raise TimeoutError
                self._sock.settimeout(wait)
                left = left[self._sock.send(left) :]
        except OSError as error:
            if len(content) - len(left) >= needed:
                # What had to leave has left, and the answer may be here already.
                return
            raise _Lost(f"{type(error).__name__} {stage}") from None


def _commands(parcel: Parcel, *, reset: bool) -> _Commands:
    envelope = [
        ("MAIL", b"MAIL FROM:<%s>\r\n" % parcel.sender.encode("ascii")),
        ("RCPT", b"RCPT TO:<%s>\r\n" % parcel.recipient.encode("ascii")),
        ("DATA", b"DATA\r\n"),
    ]
    return [("RSET", b"RSET\r\n"), *envelope] if reset else envelope


def _judged(parcel: Parcel, code: int, stage: str) -> Result:
    answer = f"{code} {stage}"
    if code // 100 == 2:
        return Result(parcel.number, Outcome.SENT, answer)
    if code // 100 != 5:
        return Result(parcel.number, Outcome.LATER, answer)
    outcome = Outcome.RECIPIENT_REFUSED if stage == "RCPT" else Outcome.OURS_REFUSED
    return Result(parcel.number, outcome, answer)


def _stuffed(message: bytes) -> bytes:
    """The message with a second dot before each line that begins with one, ending in CRLF."""
    body = message.replace(b"\r\n.", b"\r\n..")
    if body.startswith(b"."):
        body = b"." + body
    return body if body.endswith(b"\r\n") else body + b"\r\n"
