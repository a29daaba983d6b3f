"""The edge to the examiner: names, kinds, and a child that gets nothing, leaves nothing and cannot take the app with it."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import files
from tracker import media, text
from tracker.errors import Invalid
from tracker.examiner.refusals import Refusal
from tracker.examiner.traces import TRACES, Trace
from tracker.vocabulary import FileKind

HONEST: dict[str, Callable[[], bytes]] = {
    "note.pdf": files.pdf,
    "photo.jpg": files.jpeg,
    "PHOTO.JPEG": files.jpeg,
    "map.png": files.png,
    "map.webp": files.webp,
    "visit.mp4": files.mp4,
    "visit.webm": files.webm,
    "talk.mp3": files.mp3,
    "talk.opus": files.ogg,
    "list.txt": lambda: "Министрлик، ئەدلىيە、司法".encode(),
    "list.csv": lambda: "year,cases\n2024,-12\n".encode("utf-16"),
    "law.docx": files.docx,
    "law.odt": files.odt,
    "all.zip": lambda: files.zipped([("a/note.txt", b"Arvenia"), ("a/law.docx", files.docx())]),
    "letter.eml": files.eml,
    "site.warc": lambda: files.warc(packed=False),
    "site.warc.gz": files.warc,
    "site.wacz": files.wacz,
}


@pytest.fixture
def upload(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(content: bytes) -> Path:
        path = tmp_path / "upload"
        path.write_bytes(content)
        return path

    return write


@pytest.mark.parametrize("name", HONEST)
def test_an_honest_file_is_what_its_name_says(upload: Callable[[bytes], Path], name: str) -> None:
    content = HONEST[name]()
    path = upload(content)
    examined = media.examine(path, name)

    ending = ".".join(name.lower().split(".")[1:])
    assert ending in examined.kind.endings
    assert {trace.what for trace in examined.warnings} <= set(TRACES)
    assert path.read_bytes() == content


def test_every_kind_is_tried() -> None:
    endings = {".".join(name.lower().split(".")[1:]) for name in HONEST}
    assert [kind for kind in FileKind if not endings & set(kind.endings)] == []


def test_size_pages_and_records_are_told(upload: Callable[[bytes], Path]) -> None:
    assert media.examine(upload(files.pdf(7)), "a.pdf").pages == 7
    examined = media.examine(upload(files.png(size=(120, 80))), "a.png")
    assert (examined.width, examined.height, examined.pages) == (120, 80, None)
    examined = media.examine(upload(files.wacz()), "a.wacz")
    assert (examined.records_total, examined.records_bad) == (2, 0)
    assert examined.records[1].url == "http://arvenia.example/1"
    assert (examined.records[1].type, examined.records[1].digest_ok) == ("response", True)


@pytest.mark.parametrize(
    "name",
    [
        "x.svg",
        "x.html",
        "x.exe",
        "x.pdf.exe",
        "x.js",
        "x.gz",
        "x.tar.gz",
        "x.docm",
        "x.tiff",
        "x.gif",
        "gpj.\u202eexe",
    ],
)
def test_other_endings_are_refused_with_those_that_are_taken(
    upload: Callable[[bytes], Path], name: str
) -> None:
    with pytest.raises(Invalid, match=r"are not taken\. Save it as one of these: pdf, jpg") as refusal:
        media.examine(upload(files.pdf()), name)
    assert refusal.value.field == "file"


@pytest.mark.parametrize("name", ["", "notes", "...", "/etc/passwd", ".pdf"])
def test_a_name_without_an_ending_is_refused(upload: Callable[[bytes], Path], name: str) -> None:
    with pytest.raises(Invalid, match="no ending"):
        media.examine(upload(files.pdf()), name)


@pytest.mark.parametrize("kind", list(FileKind), ids=lambda kind: kind.value)
def test_an_empty_file_and_one_of_another_kind_are_refused(
    upload: Callable[[bytes], Path], kind: FileKind
) -> None:
    with pytest.raises(Invalid, match="The file is empty"):
        media.examine(upload(b""), f"x.{kind.endings[0]}")
    with pytest.raises(Invalid) as refusal:
        media.examine(upload(b"GIF89a\x01\0\x01\0\0\0\0\0;" + b"\0" * 600), f"x.{kind.endings[0]}")
    assert refusal.value.message in {
        Refusal.LOOKS_LIKE.label, Refusal.CONTENT.label, Refusal.NOT_TEXT.label,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("hostile", "kept"),
    [
        ("../../etc/passwd.pdf", "passwd.pdf"),
        ("C:\\Users\\vera\\photo.jpg", "photo.jpg"),
        ("..\\..\\boot.ini", "boot.ini"),
        ("a/../", "file"),
        ("", "file"),
        ("\0\0", "file"),
        ("photo.jpg\0.exe", "photo.jpg.exe"),
        ("photo\u202egpj.exe", "photo gpj.exe"),
        ("a\r\nContent-Type: text.html", "a Content-Type_ text.html"),
        ("--help", "help"),
        ("-rf.pdf", "rf.pdf"),
        (".htaccess", "htaccess"),
        ("...", "file"),
        ("CON", "_CON"),
        ("con.pdf", "_con.pdf"),
        ("LPT1 .txt", "_LPT1.txt"),
        ("COM¹.txt", "_COM¹.txt"),
        ("console.txt", "console.txt"),
        ('a<b>:"c|d?*.pdf', "a_b___c_d__.pdf"),
        ("report.pdf. . ", "report.pdf"),
        ("cafe\u0301.pdf", "caf\u00e9.pdf"),
        ("\ud800x.pdf", "x.pdf"),
        ("🇦🇶 ئۇيغۇر می\u200cخواهم.pdf", "🇦🇶 ئۇيغۇر می\u200cخواهم.pdf"),
        ("x" * 5000 + ".warc.gz", "x" * 112 + ".warc.gz"),
        ("x" * 5000, "x" * 120),
        ("長" * 200 + ".pdf", "長" * 78 + ".pdf"),
        ("a." + "b" * 5000, "a." + "b" * 118),
    ],
)
def test_of_a_hostile_name_what_is_harmless_is_kept(hostile: str, kept: str) -> None:
    assert media.clean_name(hostile) == kept


@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_any_name_becomes_one_that_may_be_stored_and_stays_it(name: str) -> None:
    kept = media.clean_name(name)

    assert 1 <= len(kept) <= 120
    assert len(kept.encode()) <= 240
    assert not set(kept) & set('/\\\0\r\n<>:"|?*')
    assert kept[0] not in ".-"
    assert text.clean(kept, lines=False) == kept
    assert media.clean_name(kept) == kept


# What a child that was taken over may try. Each stands in for the examiner, as a real process.
def takeover(monkeypatch: pytest.MonkeyPatch, program: str, *, seconds: int = 20) -> None:
    monkeypatch.setattr(media, "_START", textwrap.dedent(program))
    monkeypatch.setattr(media, "_EXAMINE_SECONDS", seconds)
    monkeypatch.setattr(media, "_COPY_SECONDS", seconds)


NONSENSE = {
    "silence": "pass",
    "no-json": "print('hello')",
    "a-list": "print('[1]')",
    "other-keys": "print('{\"gone\": 1}')",
    "a-number": "print('{\"done\": 7}')",
    "wrong-types": 'print(\'{"done": {"kind": "txt", "warnings": [{"what": 1, "value": []}]}}\')',
    "deep": "print('[' * 100000)",
    "unknown-refusal": 'print(\'{"refused": "because", "values": {}}\')',
    "values-missing": 'print(\'{"refused": "ending", "values": {}}\')',
    "values-that-are-arguments": 'print(\'{"refused": "ending", "values": {"message": "x", "field": "y"}}\')',
    "own-words": 'print(\'{"failed": "<script>"}\')',
    "a-crash": "import os; os.abort()",
    "an-error": "raise SystemExit(3)",
    "done-but-dead": 'print(\'{"done": {"kind": "txt"}}\', flush=True); import os; os._exit(1)',
}


@pytest.mark.parametrize("program", NONSENSE.values(), ids=NONSENSE.keys())
def test_a_child_that_dies_or_talks_nonsense_makes_one_sentence(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    takeover(monkeypatch, program)
    with pytest.raises(Invalid) as refusal:
        media.examine(upload(b"x"), "x.txt")
    assert refusal.value.message == Refusal.UNREADABLE.label


@pytest.mark.parametrize(
    "program",
    [
        "import time; time.sleep(60)",
        "import os, time; os.close(1); time.sleep(60)",
        "while True: pass",
        "while True: print('x' * 100000)",
        "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(60)",
    ],
    ids=["sleeps", "closes-and-sleeps", "works-for-ever", "talks-for-ever", "ignores-signals"],
)
def test_a_child_that_does_not_end_is_ended(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, program: str
) -> None:
    takeover(monkeypatch, program, seconds=1)
    began = time.monotonic()
    with pytest.raises(Invalid) as refusal:
        media.examine(upload(b"x"), "x.txt")
    assert refusal.value.message == Refusal.TOO_LONG.label
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("end", ["time.sleep(60)", "os._exit(0)"], ids=["stays", "leaves-it-alone"])
def test_what_a_child_started_is_ended_with_it(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, end: str
) -> None:
    note = tmp_path / "pid"
    takeover(
        monkeypatch,
        f"""
        import os, time
        ready, tell = os.pipe()
        if os.fork() == 0:
            open({str(note)!r}, "w").write(str(os.getpid()))
            os.write(tell, b"x")
            os.close(1)
            time.sleep(60)
        os.read(ready, 1)
        {end}
        """,
        seconds=2,
    )
    with pytest.raises(Invalid):
        media.examine(upload(b"x"), "x.txt")

    ends = time.monotonic() + 10
    while _alive(int(note.read_text())) and time.monotonic() < ends:
        time.sleep(0.01)
    assert not _alive(int(note.read_text()))


def _alive(process: int) -> bool:
    try:
        # An orphan that ended may wait for somebody to notice; it does nothing any more.
        return Path(f"/proc/{process}/stat").read_text().split(")")[1].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def test_a_child_gets_the_file_and_nothing_else(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TRACKER_SECRET_KEY", "Arvenia-secret")
    other = os.open(tmp_path, os.O_RDONLY)
    os.set_inheritable(other, True)
    takeover(
        monkeypatch,
        """
        import json, os, stat, sys
        facts = {
            "environment": sorted(set(os.environ) - {"LC_CTYPE", "__CF_USER_TEXT_ENCODING"}),
            "descriptors": [n for n in range(3, 200) if os.path.exists(f"/proc/self/fd/{n}")],
            "folder": [os.listdir("."), stat.S_IMODE(os.stat(".").st_mode)],
            "own session": os.getsid(0) == os.getpid(),
            "arguments": sys.argv[2:],
            "isolated": sys.flags.isolated,
            "input": os.read(0, 100).decode(),
        }
        value = json.dumps(facts)
        print(json.dumps({"done": {"kind": "txt", "warnings": [
            {"what": "comment", "value": value[n : n + 200]} for n in range(0, len(value), 200)]}}))
        """,
    )
    told = media.examine(upload(b"Decree"), "Vera's list.txt").warnings
    os.close(other)

    facts = json.loads("".join(trace.value for trace in told))
    assert facts["environment"] == []
    # The listing itself holds one open while it looks.
    assert len(facts["descriptors"]) <= 1
    assert facts["folder"] == [[], 0o700]
    assert facts["own session"]
    assert facts["isolated"]
    assert facts["input"] == "Decree"
    assert "Vera" not in " ".join(facts["arguments"])


def test_what_a_child_says_is_cleaned_and_bounded(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    takeover(
        monkeypatch,
        r"""
        import json
        traces = [{"what": "comment", "value": "a\u202eb\n\0" + "x" * 5000}, {"what": "<b>", "value": "x"}]
        traces += [{"what": "comment", "value": str(n)} for n in range(500)]
        record = {"url": "u" * 3000, "type": "t\n", "date": "d", "digest_ok": None, "size": 1}
        print(json.dumps({"done": {"kind": "pdf", "warnings": traces, "records": [record] * 3000}}))
        """,
    )
    examined = media.examine(upload(b"x"), "x.txt")

    assert examined.kind is FileKind.TXT
    assert len(examined.warnings) == 100
    assert examined.warnings[0] == Trace("comment", ("a b " + "x" * 5000)[:200])
    assert {trace.what for trace in examined.warnings} == {"comment"}
    assert len(examined.records) == 2000
    assert (len(examined.records[0].url), examined.records[0].type) == (2000, "t")


@pytest.mark.parametrize(
    "program",
    [
        "import os, sys; os.write(int(sys.argv[5]), b'<script>'); print('{\"done\": \"jpeg\"}')",
        "import os, sys; os.write(int(sys.argv[5]), b'<script>'); print('{\"done\": \"txt\"}')",
        'print(\'{"done": "jpeg"}\')',
        'print(\'{"done": ["jpeg"]}\')',
        "import os; os.abort()",
        "import os, sys; os.write(int(sys.argv[5]), b'x' * 100000); import time; time.sleep(60)",
    ],
)
def test_a_copy_that_is_no_picture_is_not_left_behind(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, program: str
) -> None:
    takeover(monkeypatch, program, seconds=2)
    with pytest.raises(Invalid):
        media.make_copy(upload(files.jpeg()), FileKind.JPEG, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_a_copy_is_for_its_owner_only_and_follows_no_link(
    upload: Callable[[bytes], Path], tmp_path: Path
) -> None:
    media.make_copy(upload(files.jpeg()), FileKind.JPEG, tmp_path / "copy")
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600
    (tmp_path / "target").write_bytes(b"keys")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    with pytest.raises(OSError, match="symbolic"):
        media.make_copy(upload(files.jpeg()), FileKind.JPEG, tmp_path / "link")
    assert (tmp_path / "target").read_bytes() == b"keys"


def test_nothing_is_left_in_the_temporary_folder(
    upload: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    media.examine(upload(files.pdf()), "a.pdf")
    with pytest.raises(Invalid):
        media.examine(upload(files.flood_png()), "a.png")

    assert list((tmp_path / "tmp").iterdir()) == []


def test_many_at_once_wait_for_their_turn(tmp_path: Path) -> None:
    path = tmp_path / "upload"
    path.write_bytes(files.jpeg())
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: media.examine(path, "a.jpg"), range(8)))
    assert {examined.width for examined in found} == {96}


MEASURE = """
import resource, sys, time
from pathlib import Path
from tracker import media
from tracker.errors import Invalid
began = time.monotonic()
try:
    media.examine(Path(sys.argv[1]), "flood.png")
except Invalid as refusal:
    print(refusal)
usage = resource.getrusage(resource.RUSAGE_CHILDREN)
print(usage.ru_maxrss // 1024, round(time.monotonic() - began))
"""


def test_a_flood_of_pixels_is_refused_quickly_and_in_little_memory(upload: Callable[[bytes], Path]) -> None:
    path = upload(files.flood_png())
    assert path.stat().st_size < 100_000
    said = subprocess.check_output(
        [sys.executable, "-c", MEASURE, path], text=True, cwd=Path(media.__file__).parents[1]
    )

    sentence, numbers = said.strip().splitlines()[-2:]
    megabytes, seconds = map(int, numbers.split())
    assert sentence == "The picture has more than 40 million pixels. Make it smaller, or cut it into parts."
    assert megabytes < 150
    assert seconds < 10


CONFINED = """
import json, os, socket, subprocess, sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from tracker.examiner import sandbox
before = os.open(sys.argv[2], os.O_RDONLY)
sandbox.limit(20)
fences = sandbox.confine(Path(sys.argv[1]) / "tracker")

def attempt(what):
    try:
        what()
    except OSError as error:
        return error.errno
    except MemoryError:
        return "memory"
    return "done"

print(json.dumps({
    "fences": fences,
    "read": attempt(lambda: open(sys.argv[2]).read()),
    "read folder": attempt(lambda: os.listdir(os.path.dirname(sys.argv[2]))),
    "write": attempt(lambda: open(sys.argv[2] + ".new", "w")),
    "remove": attempt(lambda: os.unlink(sys.argv[2])),
    "loosen": attempt(lambda: os.chmod(sys.argv[2], 0o777)),
    "connect": attempt(lambda: socket.create_connection(("127.0.0.1", 9), 1)),
    "datagram": attempt(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM)),
    "local socket": attempt(lambda: socket.socket(socket.AF_UNIX)),
    "run": attempt(lambda: subprocess.run(["/bin/true"], check=True)),
    "fork": attempt(lambda: os.fork() or os._exit(0)),
    "replace": attempt(lambda: os.execv("/bin/true", ["true"])),
    "kill": attempt(lambda: os.kill(os.getppid(), 0)),
    "memory": attempt(lambda: bytearray(2 * 1024**3)),
    "handed in": os.read(before, 10).decode(),
    "import": attempt(lambda: __import__("PIL.Image")),
}))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the fences are the Linux kernel's")
def test_a_confined_child_can_read_what_it_was_handed_and_nothing_else(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("key")
    root = str(Path(media.__file__).parents[1])
    said = subprocess.check_output([sys.executable, "-I", "-c", CONFINED, root, str(secret)], text=True)

    result = json.loads(said)
    assert result.pop("handed in") == "key"
    assert result.pop("import") == "done"
    assert result.pop("memory") == "memory"
    fences = result.pop("fences")
    if "landlock" not in fences:
        # An older kernel, or one that was built without it: the other limits stand.
        for name in ("read", "read folder", "write", "remove"):
            result.pop(name)
    if "seccomp" in fences:
        assert {name: value for name, value in result.items() if value not in (1, 13)} == {}
    assert secret.read_text() == "key"


def test_this_process_keeps_its_own_limits() -> None:
    assert resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY
    assert "PIL.Image" not in subprocess.check_output(
        [sys.executable, "-c", "import sys, tracker.media; print(*sys.modules)"],
        text=True,
        cwd=Path(media.__file__).parents[1],
    )
