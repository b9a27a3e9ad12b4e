from __future__ import annotations

import hashlib
import io
import stat
import tarfile
import threading
import zipfile
from pathlib import Path

import pytest

from tests.train.serving import serving
from train.data import download
from train.data.archive import unpack
from train.data.download import Remote, cache_folder, fetch, fetch_unpacked
from train.errors import TrainError

CONTENT = bytes(range(256)) * 4096
SHA = "sha256:" + hashlib.sha256(CONTENT).hexdigest()
MD5 = "md5:" + hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def _at_once(monkeypatch):
    monkeypatch.setattr(download, "PAUSES", (0, 0))


@pytest.mark.parametrize("checksum", [SHA, MD5])
def test_a_file_is_downloaded_once(tmp_path, checksum):
    with serving({"a/data.bin": CONTENT}) as served:
        paths = {fetch(Remote(f"{served.url}/a/data.bin", checksum), tmp_path) for _ in range(3)}
    [path] = paths
    assert path.name == "data.bin"
    assert path.read_bytes() == CONTENT
    assert served.asked == [("a/data.bin", None)]
    assert [entry.name for entry in path.parent.iterdir() if "part" in entry.name] == []


@pytest.mark.parametrize(
    ("etag", "ranges"),
    [
        ('"one"', [None, "bytes=300000-", "bytes=300700-"]),
        (None, [None, None, None]),  # nothing says that what comes is still the same
        ('W/"one"', [None, None, None]),
    ],
)
def test_a_broken_download_goes_on_where_the_server_vouches_for_the_bytes(tmp_path, etag, ranges, capsys):
    with serving({"d": CONTENT}, etag=etag, cuts=[300_000, 700]) as served:
        assert fetch(Remote(f"{served.url}/d", SHA), tmp_path).read_bytes() == CONTENT
    assert [asked for _, asked in served.asked] == ranges
    assert "the connection ended after 300000 of 1048576 bytes; another attempt" in capsys.readouterr().out


def test_a_file_that_changed_meanwhile_starts_anew(tmp_path, monkeypatch):
    with serving({"d": b"old" * 400_000}, cuts=[300_000]) as served:

        def changed(_seconds):
            served.files["d"], served.etag = CONTENT, '"two"'

        monkeypatch.setattr(download.time, "sleep", changed)
        assert fetch(Remote(f"{served.url}/d", SHA), tmp_path).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again_and_an_answer_that_stays_is_not(tmp_path):
    with serving({"d": CONTENT}, codes=[503, 429]) as served:
        assert fetch(Remote(f"{served.url}/d", SHA), tmp_path).read_bytes() == CONTENT
        with pytest.raises(TrainError, match=r"/gone' could not be downloaded \(the server answered 404 Not Found\)"):
            fetch(Remote(f"{served.url}/gone", SHA), tmp_path)
    assert [path for path, _ in served.asked] == ["d", "d", "d", "gone"]


def test_without_a_network_it_says_what_to_do(tmp_path, free_port):
    wanted = r"refused.*\); without a network get the data elsewhere and set data.path to it"
    with pytest.raises(TrainError, match=wanted):
        fetch(Remote(f"http://127.0.0.1:{free_port}/d", SHA), tmp_path)


def test_another_content_is_removed_and_both_sums_are_told(tmp_path):
    (tmp_path / "it").write_bytes(b"something else")
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(TrainError, match=f"its sha256 is '{found}', not '{SHA[7:]}' as configured"):
        fetch(Remote((tmp_path / "it").as_uri(), SHA), tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*it*")) == []


def test_without_a_checksum_the_sum_is_told_each_time_and_can_be_pinned(tmp_path, capsys):
    (tmp_path / "it").write_bytes(CONTENT)
    url = (tmp_path / "it").as_uri()
    for _ in range(2):
        fetch(Remote(url, None), tmp_path / "cache")
        assert f"pinned with data.checksum={SHA}" in capsys.readouterr().out
    fetch(Remote(url, SHA), tmp_path / "cache")
    assert "warning" not in capsys.readouterr().out


def test_what_may_be_a_password_or_a_signature_is_not_printed(tmp_path, capsys):
    with serving({"d": CONTENT}) as served:
        host = served.url.removeprefix("http://")
        fetch(Remote(f"{served.url}/d?sig=hidden", None), tmp_path)
        with pytest.raises(TrainError) as caught:
            fetch(Remote(f"{served.url}/gone?sig=hidden", SHA), tmp_path)
    said = capsys.readouterr().out + str(caught.value) + Remote(f"http://user:hidden@{host}/d", None).shown
    assert f"'{served.url}/d'" in said
    assert "hidden" not in said


def test_one_downloads_while_the_others_wait(tmp_path, monkeypatch):
    waiting = threading.Semaphore(0)
    monkeypatch.setattr("builtins.print", lambda text, **_: waiting.release() if "waiting" in text else None)
    found: list[Path] = []
    with serving({"d": CONTENT}) as served:
        served.ready.clear()
        remote = Remote(f"{served.url}/d", SHA)
        threads = [threading.Thread(target=lambda: found.append(fetch(remote, tmp_path))) for _ in range(4)]
        for thread in threads:
            thread.start()
        assert all(waiting.acquire(timeout=20) for _ in range(3))
        served.ready.set()
        for thread in threads:
            thread.join()
    assert len(served.asked) == 1
    assert len(found) == 4
    assert len(set(found)) == 1


def test_a_cache_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(TrainError, match=r"data.cache: cannot write below '.*file.*set data.cache or AMLRUN_DATA"):
        fetch(Remote("http://127.0.0.1:9/d", SHA), tmp_path / "file")


@pytest.mark.parametrize(
    ("given", "variable", "found"),
    [("/a", "/b", "/a"), (None, "/b", "/b"), (None, "", "/home/x/.cache/amlrun"), ("~/d", "/b", "/home/x/d")],
)
def test_where_downloads_are_kept(given, variable, found, monkeypatch):
    monkeypatch.setenv("HOME", "/home/x")
    monkeypatch.setenv("AMLRUN_DATA", variable)
    assert cache_folder(given) == Path(found)


def zipped(**members: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        for name, content in members.items():
            entry = zipfile.ZipInfo(name)
            if content.startswith(b"-> "):
                entry.external_attr = (stat.S_IFLNK | 0o777) << 16
            file.writestr(entry, content)
    return made.getvalue()


def tarred(**members: bytes) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as file:
        for name, content in members.items():
            entry = tarfile.TarInfo(name)
            if content.startswith(b"-> "):
                entry.type, entry.linkname = tarfile.SYMTYPE, content[3:].decode()
            elif content == b"device":
                entry.type = tarfile.CHRTYPE
            else:
                entry.size = len(content)
            file.addfile(entry, io.BytesIO(content))
    return made.getvalue()


@pytest.mark.parametrize("archive", [zipped(**{"a/b.txt": b"1"}), tarred(**{"a/b.txt": b"1"})], ids=["zip", "tar.gz"])
def test_an_archive_is_unpacked_once_and_not_kept(tmp_path, archive):
    with serving({"images.bin": archive}) as served:
        folders = {fetch_unpacked(Remote(f"{served.url}/images.bin", None), tmp_path) for _ in range(2)}
    [folder] = folders
    assert (folder / "a" / "b.txt").read_bytes() == b"1"
    assert len(served.asked) == 1
    assert sorted(entry.name for entry in folder.parent.iterdir()) == [".lock", ".sha256", "unpacked"]


OUT = "would write outside its folder, at "
REFUSED = {
    "zip, upward": (zipped(**{"../x": b"1"}), OUT + "'../x'"),
    "zip, down and upward": (zipped(**{"a/../../x": b"1"}), OUT),
    "zip, absolute": (zipped(**{"/x": b"1"}), OUT),
    "zip, backslashes": (zipped(**{"a\\..\\..\\x": b"1"}), OUT),
    "zip, link": (zipped(a=b"-> /etc/passwd"), "holds a link, 'a'"),
    "zip, cut": (zipped(a=b"1" * 99)[:60], "neither a zip nor a tar file"),
    "zip, changed": (zipped(a=b"1" * 99).replace(b"1" * 99, b"2" * 99), "cannot be unpacked"),
    "tar, upward": (tarred(**{"../x": b"1"}), OUT + "'../x'"),
    "tar, link upward": (tarred(a=b"-> ../../x"), OUT),
    "tar, link to the root": (tarred(a=b"-> /etc"), OUT),
    "tar, device": (tarred(a=b"device"), OUT),
    "tar, cut": (tarred(a=CONTENT, b=CONTENT[::-7])[:-2000], "cannot be unpacked"),
    "web page": (b"<html>sign in</html>", "neither a zip nor a tar file"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_an_archive_that_is_damaged_or_reaches_out_leaves_nothing(tmp_path, case):
    archive, said = REFUSED[case]
    (tmp_path / "it").write_bytes(archive)
    with pytest.raises(TrainError, match=said):
        unpack(tmp_path / "it", tmp_path / "in" / "folder")
    assert not (tmp_path / "in" / "folder").exists()
    assert not list(tmp_path.rglob("x"))


def test_what_a_killed_run_left_is_not_taken_for_data(tmp_path):
    archive = tarred(**{"a/b.txt": b"1"})
    (tmp_path / "it").write_bytes(archive)
    remote = Remote((tmp_path / "it").as_uri(), f"sha256:{hashlib.sha256(archive).hexdigest()}")
    folder = tmp_path / "cache" / remote.folder
    (folder / ".unpacked.part").mkdir(parents=True)
    for name in (".lock", ".it.part", ".unpacked.part/c.txt"):
        (folder / name).write_bytes(b"half")
    found = fetch_unpacked(remote, tmp_path / "cache")
    assert sorted(path.name for path in found.rglob("*")) == ["a", "b.txt"]


def test_links_inside_a_tar_file_stay(tmp_path):
    (tmp_path / "it").write_bytes(tarred(**{"a/one": b"1", "b": b"-> a/one"}))
    unpack(tmp_path / "it", tmp_path / "folder")
    assert (tmp_path / "folder" / "b").read_bytes() == b"1"
