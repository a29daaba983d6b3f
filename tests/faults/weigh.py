"""How much memory a process of its own needs to take in, store and read a large file.

python -m tests.faults.weigh DATA_DIR MEGABYTES LIMIT    prints what happened and by how many MB the process grew
"""

from __future__ import annotations

import os
import resource
import sys

from tests.faults import keeper
from tracker import storage
from tracker.errors import TrackerError

MB = 1024 * 1024


def peak() -> int:
    """The most memory this process has had, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def main(folder: str, megabytes: int, limit: int) -> str:
    config = keeper.make_config(folder, storage_url=os.environ.get("TRACKER_STORAGE_URL", ""))
    store = storage.open_store(config)
    store.size("0" * 64)  # Whatever must be loaded is loaded now.
    block = os.urandom(MB)
    before = peak()
    try:
        with storage.receive(config, limit=limit * MB) as receiver:
            for _ in range(megabytes):
                receiver.write(block)
            incoming = receiver.finish()
    except TrackerError as error:
        return f"{type(error).__name__} {peak() - before}"
    store.keep(incoming)
    whole = store.check(incoming.sha256) == incoming.sha256
    return f"{'whole' if whole else 'damaged'} {peak() - before}"


if __name__ == "__main__":
    print(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
