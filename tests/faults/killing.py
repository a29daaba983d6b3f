"""`tracker web` is killed (kill -9) at random moments of uploads: what it answered with 303 is there afterwards.

python -m tests.faults.killing [ROUNDS] [sqlite|postgresql]    30 rounds, unless told otherwise
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import random
import re
import sys
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from http.client import HTTPException

from sqlalchemy import Engine, select

from tests.faults.serving import Server, finish, free_port
from tests.faults.storage_table import fresh
from tracker import clock, db, fsck, keyring, storage
from tracker.config import Config
from tracker.models import CustodyLine, Exhibit
from tracker.services.fsck import GRACE
from tracker.vocabulary import CustodyAction

AT_ONCE = 3


@dataclass
class Killed:
    """What was seen in all rounds so far."""

    rounds: int = 0
    sent: list[str] = field(default_factory=list)  # the SHA-256 of each file
    acknowledged: dict[str, str] = field(default_factory=dict)  # the exhibit's key: the file's SHA-256
    other: list[str] = field(default_factory=list)  # answers that are not 303
    unacknowledged: int = 0  # exhibits that are there although the answer did not arrive
    tidied: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def cut(self) -> int:
        """How many uploads got no answer."""
        return len(self.sent) - len(self.acknowledged) - len(self.other)


def a_round(server: Server, seen: Killed) -> None:
    """Start the server, let several people upload one file after the other, and kill it on the way."""
    server.start()
    killed = threading.Event()

    def upload() -> None:
        while not killed.is_set():
            # Half a megabyte of text that nobody has sent before.
            content = f"Arvenia, {os.urandom(16).hex()}.\n".encode() * random.randrange(100, 12_000)
            try:
                link, tail, _action = server.begin(len(content))
            except (OSError, HTTPException):
                continue  # It is killed already.
            sha256 = hashlib.sha256(content).hexdigest()
            seen.sent.append(sha256)
            try:
                status, page = finish(link, [content], tail)
            except OSError:
                continue
            place = re.search(r"\r\nlocation: \S*/workspace/exhibits/(\w+)", page, re.IGNORECASE)
            if status == 303 and place:
                seen.acknowledged[place.group(1)] = sha256
            else:
                seen.other.append(f"{status} {page[:200]}")

    people = [threading.Thread(target=upload) for _ in range(AT_ONCE)]
    for person in people:
        person.start()
    # By turns soon after the first answer and soon after the first upload has begun, however slow the machine is.
    waited: Collection[str] = seen.sent if seen.rounds % 2 else seen.acknowledged
    already, until = len(waited), time.monotonic() + 60
    while len(waited) == already and time.monotonic() < until:
        time.sleep(0.01)
    time.sleep(random.uniform(0, 0.8))
    server.kill()
    killed.set()
    for person in people:
        person.join()
    seen.rounds += 1


def look(engine: Engine, config: Config, seen: Killed) -> None:
    """Note what is wrong: acknowledged and not there or not whole, or anything that `tracker fsck` finds."""
    keys, store = keyring.load(config.keys_path), storage.open_store(config)
    at = clock.now() + GRACE + dt.timedelta(hours=1)
    for item in fsck.run(engine, config, keys, now=at):
        (seen.tidied if item.tidied else seen.problems).append(item.sentence)
    lines = select(CustodyLine.exhibit_id, CustodyLine.sha256).where(
        CustodyLine.action == CustodyAction.UPLOADED
    )
    with db.reading(), db.new_session(engine) as session:
        rows = {row.key: row for row in session.scalars(select(Exhibit))}
        custody = {tuple(line) for line in session.execute(lines)}
    for key, sha256 in seen.acknowledged.items():
        if key not in rows or rows[key].sha256 != sha256:
            seen.problems.append(f"lost: exhibit {key}")
        elif store.check(sha256) != sha256 or (rows[key].id, sha256) not in custody:
            seen.problems.append(f"exhibit {key} is not whole")
    if len(custody) != len(rows):
        seen.problems.append("exhibits and lines of custody differ in number")
    if list(config.incoming_path.glob("*")):
        seen.problems.append("something half received was not swept")
    seen.unacknowledged = len(rows.keys() - seen.acknowledged.keys())


def main(rounds: str = "30", database: str = "sqlite") -> None:
    seen = Killed()
    with fresh(database) as config:
        keyring.create(config.keys_path)
        config = config.model_copy(update={"port": free_port()})
        engine = db.make_engine(config.sqlalchemy_url, keyring.load(config.keys_path))
        with db.new_session(engine) as session:
            server = Server(config, session, config.data_path / "log")
        for _ in range(int(rounds)):
            a_round(server, seen)
            look(engine, config, seen)
        engine.dispose()
        log = server.log.read_text()
    print(
        f"killed {seen.rounds} times; {len(seen.sent)} uploads begun, {len(seen.acknowledged)} acknowledged, "
        f"{seen.cut} cut off ({seen.unacknowledged} of them are there), {len(seen.other)} refused; "
        f"{len(seen.tidied)} things tidied up, {len(seen.problems)} wrong"
    )
    for sentence in [*seen.other, *([log] if seen.other else []), *seen.problems]:
        print(sentence)
    sys.exit(bool(seen.problems))


if __name__ == "__main__":
    main(*sys.argv[1:])
