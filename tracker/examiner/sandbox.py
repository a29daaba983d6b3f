"""What the child gives up before it reads anything: memory, time, files, the network and other programs.

Limits on resources hold everywhere. On Linux two more fences are put up, where the kernel has them and without any
privilege: Landlock (since 5.13) leaves nothing readable but Python and the system's libraries and nothing writable, so
that a parser that was taken over finds neither keys nor database; seccomp refuses sockets, new processes and signals.
The child's only ways out are the descriptors it was started with.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import resource
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

MEMORY = 1024 * 1024 * 1024
LARGEST_RESULT = 512 * 1024 * 1024

_PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP, _SECCOMP_MODE_FILTER = 38, 22, 2
_ALLOW, _DENY = 0x7FFF0000, 0x00050000 | errno.EPERM
#: By machine: the audit architecture, and the numbers of what is refused: socket, connect, bind, sendto, sendmsg,
#: socketpair, clone, fork, vfork, execve, kill, tkill, ptrace, unshare, mount, setns, chmod and chown in their forms,
#: bpf, userfaultfd, perf_event_open, process_vm_readv, process_vm_writev, execveat. The last row is the same on both:
#: io_uring_setup (it would go around this filter), pidfd_open, clone3, pidfd_getfd.
_SYSTEM_CALLS = {
    "x86_64": (
        0xC000003E,
        (
            "41 42 49 44 46 53 56 57 58 59 62 200 101 272 165 308 90 91 92 93 94 260 268 321 323 298 310 311 322 "
            "425 434 435 438"
        ),
    ),
    "aarch64": (
        0xC00000B7,
        (
            "198 203 200 206 211 199 220 221 129 130 117 97 40 268 52 53 54 55 280 282 241 270 271 281 "
            "425 434 435 438"
        ),
    ),
}


def limit(seconds: int) -> None:
    """Bound memory, processor time, file size, open files and processes of this process, for good."""
    # At the first number of seconds comes a signal that tells the parent why, two later the end.
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 2))
    for name, value in (
        ("RLIMIT_CORE", 0),
        ("RLIMIT_AS", MEMORY),
        ("RLIMIT_FSIZE", LARGEST_RESULT),
        ("RLIMIT_NOFILE", 64),
        ("RLIMIT_NPROC", 0),
    ):
        try:
            resource.setrlimit(getattr(resource, name), (value, value))
        except (AttributeError, ValueError, OSError):
            # Not every system has every limit; those that it has are kept.
            continue
    os.nice(10)


def confine(program: Path) -> list[str]:
    """Put up the kernel's fences, as far as it has them, and name those that stand. `program` is our own folder."""
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        return []
    readable = [Path(sys.prefix), Path(sys.base_prefix), program]
    readable += [Path(name) for name in ("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null")]
    fences = []
    if _landlock(libc, readable):
        fences.append("landlock")
    if _seccomp(libc):
        fences.append("seccomp")
    return fences


def _landlock(libc: ctypes.CDLL, readable: Iterable[Path]) -> bool:
    """Allow reading below these paths and no other use of files at all. Source: the kernel's landlock(7)."""
    create, add, restrict, by_path = 444, 445, 446, 1
    read_file, read_folder = 1 << 2, 1 << 3
    version = libc.syscall(create, None, 0, 1)
    if version < 1:
        return False
    # Version 1 knows 13 ways of use, 2 adds linking across folders, 3 cutting files short.
    handled = (1 << (12 + min(version, 3))) - 1
    ruleset = libc.syscall(create, struct.pack("=Q", handled), 8, 0)
    if ruleset < 0:
        return False
    for path in readable:
        try:
            descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError:
            continue
        rights = read_file | (read_folder if path.is_dir() else 0)
        libc.syscall(add, ruleset, by_path, struct.pack("=Qi", rights, descriptor), 0)
        os.close(descriptor)
    done = bool(libc.syscall(restrict, ruleset, 0) == 0)
    os.close(ruleset)
    return done


def _seccomp(libc: ctypes.CDLL) -> bool:
    """Refuse the calls of `_SYSTEM_CALLS` with EPERM. Source: the kernel's seccomp(2), classic BPF."""
    if platform.machine() not in _SYSTEM_CALLS:
        return False
    architecture, numbers = _SYSTEM_CALLS[platform.machine()]
    refused = [int(number) for number in numbers.split()]
    load, equal, at_least, give = 0x20, 0x15, 0x35, 0x06
    count = len(refused)
    steps = [
        (load, 0, 0, 4),
        (equal, 0, count + 3, architecture),
        (load, 0, 0, 0),
        # Numbers from here on are the x32 forms of the same calls.
        (at_least, count + 1, 0, 0x40000000),
        *((equal, count - place, 0, number) for place, number in enumerate(refused)),
        (give, 0, 0, _ALLOW),
        (give, 0, 0, _DENY),
    ]
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *step) for step in steps))
    program = ctypes.create_string_buffer(struct.pack("@HP", len(steps), ctypes.addressof(code)))
    return bool(libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0) == 0)
