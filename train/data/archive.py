"""Archives become folders: all of it or nothing, and nothing outside the folder."""

from __future__ import annotations

import gzip
import lzma
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from train.errors import TrainError

# What the readers raise for a damaged or encrypted archive.
DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, RuntimeError, ValueError),
)


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a zip or tar file into `folder`, which must not be there yet.

    Raises TrainError for a damaged archive and for members that point out of the folder.
    """
    beside = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(beside, ignore_errors=True)
    beside.mkdir(parents=True)
    try:
        _reader(archive)(archive, beside)
    except DAMAGED as error:
        raise TrainError(f"data: '{archive.name}' cannot be unpacked ({error}); get a whole copy of it") from error
    beside.replace(folder)


def _reader(archive: Path) -> Callable[[Path, Path], None]:
    for fits, reader in ((zipfile.is_zipfile, _unzip), (tarfile.is_tarfile, _untar)):
        if fits(archive):
            return reader
    raise TrainError(f"data: '{archive.name}' is neither a zip nor a tar file; set data.url to one of the images")


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as file:
        for member in file.infolist():
            place = PurePosixPath(member.filename.replace("\\", "/"))
            if place.is_absolute() or ".." in place.parts or ":" in place.parts[:1]:
                raise _outside(archive, member.filename)
            if stat.S_ISLNK(member.external_attr >> 16):
                raise TrainError(
                    f"data: '{archive.name}' holds a link, '{member.filename}'; archive the files themselves"
                )
        file.extractall(folder)  # noqa: S202 - its members were looked at


def _untar(archive: Path, folder: Path) -> None:
    if not hasattr(tarfile, "data_filter"):
        raise TrainError("data: this Python unpacks tar files without a check; use 3.10.12, 3.11.4 or later")
    try:
        with tarfile.open(archive) as file:
            file.extractall(folder, filter="data")
    except tarfile.FilterError as error:
        raise _outside(archive, error.tarinfo.name) from error


def _outside(archive: Path, member: str) -> TrainError:
    return TrainError(f"data: '{archive.name}' would write outside its folder, at '{member}'; do not trust it")
