"""A process that forks a child for each line it reads; the child receives a file, keeps it, writes a row and says so.

python -m tests.faults.keeper

In:  a line with the data folder, and after a tab how often the content stands in the file; it answers with the child's pid. The child waits for a second line, so that somebody
     can attach to it: then its calls are those of one upload and nothing else. TRACKER_STORAGE_URL is looked at.
Out: "acknowledged", or "refused" and the sentence; then "ended" and the child's exit status.
"""

from __future__ import annotations

import os
import sqlite3
import traceback
from pathlib import Path

from tracker import config as settings
from tracker import storage
from tracker.config import Config
from tracker.errors import TrackerError

CONTENT = bytes(range(256)) * 600
PIECE = 64 * 1024


def make_config(data: Path | str) -> Config:
    return settings.load(
        {
            "TRACKER_DATA_DIR": str(data),
            "TRACKER_EXHIBIT_FREE_PERCENT": "0",
            "TRACKER_STORAGE_URL": os.environ.get("TRACKER_STORAGE_URL", ""),
        }
    )


def prepare(config: Config) -> None:
    """The table, made before anything can fail."""
    with sqlite3.connect(config.data_path / "rows.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")  # As the program's own database.
        connection.execute("CREATE TABLE IF NOT EXISTS rows (sha256 TEXT NOT NULL)")
    connection.close()


def write_row(config: Config, sha256: str) -> None:
    """THE ROW. It stands for the service that records an exhibit and for its commit: put that here to test it all."""
    connection = sqlite3.connect(config.data_path / "rows.db")
    try:
        connection.execute("PRAGMA synchronous=FULL")
        with connection:
            connection.execute("INSERT INTO rows VALUES (?)", (sha256,))
    finally:
        connection.close()


def rows(config: Config) -> list[str]:
    connection = sqlite3.connect(config.data_path / "rows.db")
    try:
        return [sha256 for (sha256,) in connection.execute("SELECT sha256 FROM rows")]
    finally:
        connection.close()


def upload(config: Config, content: bytes = CONTENT) -> str:
    """One upload, in the order that everything relies on: the blob, then the row; the answer comes after."""
    with storage.receive(config, limit=10**9) as receiver:
        for place in range(0, len(content), PIECE):
            receiver.write(content[place : place + PIECE])
        incoming = receiver.finish()
    storage.open_store(config).keep(incoming)
    write_row(config, incoming.sha256)
    return incoming.sha256


def _line() -> str:
    taken = b""
    while not taken.endswith(b"\n"):
        if not (byte := os.read(0, 1)):
            return ""
        taken += byte
    return taken.decode().rstrip("\n")


def _child(config: Config, content: bytes) -> None:
    _line()
    try:
        upload(config, content)
        said = "acknowledged"
    except (TrackerError, sqlite3.Error) as error:
        said = f"refused {error}"
    os.write(1, f"{said}\n".encode())


def main() -> None:
    while line := _line():
        folder, _, times = line.partition("\t")
        config = make_config(folder)
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                _child(config, CONTENT * int(times or 1))
                status = 0
            except OSError:
                status = 3  # The answer itself did not get through.
            finally:
                if status == 1:
                    traceback.print_exc()
                os._exit(status)
        os.write(1, f"{pid}\n".encode())
        os.write(1, f"ended {os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])}\n".encode())


if __name__ == "__main__":
    main()
