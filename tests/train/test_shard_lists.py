"""Lists of shards, addresses, compression, index: `pytest tests/train/test_shard_lists.py`."""

from __future__ import annotations

import bz2
import errno
import functools
import gzip
import http.server
import lzma
import os
import shlex
import tarfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load, save
from webdataset.gopen import gopen_schemes
from webdataset.writer import TarWriter

from reflectionflow_core.record import InputError
from train.prompt_words import digest
from train.shard_index import index_of
from train.shard_lists import CACHE, shards_in
from train.triplets import Triplet, Triplets, files_of


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch) -> Path:
    monkeypatch.setenv(CACHE, str(tmp_path / "cache"))
    return tmp_path / "cache" / "shards"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Shards 0 to 3 of two samples each."""
    where = tmp_path / "data"
    where.mkdir()
    for number in range(4):
        with TarWriter(str(where / f"genref_{number}.tar"), mtime=0) as tar:
            for place in range(2):
                made = triplet(f"{number}-{place}")
                tar.write({"__key__": made.key, **files_of(made)})
    return where


def triplet(key: str) -> Triplet:
    good, bad = Image.new("RGB", (32, 32), "red"), Image.new("RGB", (32, 32), "blue")
    return Triplet(key, good, bad, f"prompt {key}", "make it red", "general")


def test_a_folder_that_train_data_has_not_finished_is_read_with_a_warning(
    folder: Path, capsys
) -> None:
    (folder / "run.json").touch()
    for _ in range(2):
        shards_in(folder)
    assert capsys.readouterr().err.count(f"train.data has not finished {folder}, so samples") == 1


def names(where: str | Path) -> list[str]:
    return [shard.name for shard in shards_in(where)]


def keys(where: str | Path) -> list[str]:
    return [found.key for found in Triplets(shards_in(where))]


ALL = [f"{number}-{place}" for number in range(4) for place in range(2)]


def test_a_folder_a_file_a_pattern_and_a_list_name_shards(folder: Path) -> None:
    everything = [f"genref_{number}.tar" for number in range(4)]
    assert names(folder) == names(str(folder / "*.tar")) == everything
    assert names(folder / "genref_2.tar") == ["genref_2.tar"]
    assert names(str(folder / "genref_{0..3}.tar")) == everything
    assert names(str(folder / "genref_{3,1}.tar")) == ["genref_3.tar", "genref_1.tar"]
    assert names(f"{folder / 'genref_0.tar'}::{folder / 'genref_[12].tar'}") == everything[:3]
    assert keys(str(folder / "genref_{0..3}.tar")) == ALL
    (folder / "._genref_0.tar").write_bytes(b"of macOS")
    (folder / "more.tar").mkdir()
    pattern = str(folder.parent / "*" / "*.tar")
    assert names(folder) == names(pattern) == names(f"{pattern}::{folder}") == everything


@pytest.mark.parametrize("name", ["genref_{3..5}.tar", "other_*.tar", "nowhere", ""])
def test_a_name_without_shards_is_refused(folder: Path, name: str) -> None:
    (folder / "empty").mkdir()
    with pytest.raises(InputError, match="There are no shards in"):
        shards_in(str(folder / (name or "empty")))


def test_a_list_may_be_longer_than_a_path(folder: Path, monkeypatch) -> None:
    monkeypatch.chdir(folder)
    assert names("::".join(["genref_1.tar", "genref_2.tar"] * 200)) == [
        *("genref_1.tar", "genref_2.tar")
    ]
    with pytest.raises(InputError, match="Choose a shorter name"):
        shards_in("x" * 300)


def test_a_copy_is_read_from_a_cache_that_may_only_be_read(folder: Path, monkeypatch) -> None:
    first, second = (f"pipe:cat {shlex.quote(str(folder))}/genref_{n}.tar" for n in (1, 2))
    copies = shards_in(first)

    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr("train.shard_lists.FileLock", refuse)
    assert shards_in(first) == copies
    with pytest.raises(InputError, match="Choose a folder that you may write to"):
        shards_in(second)


def test_a_brace_that_is_not_closed_is_refused() -> None:
    with pytest.raises(InputError, match="Close each brace"):
        shards_in("genref_{0..3.tar")


def test_commands_are_run_once_and_their_shards_kept(folder: Path, capfd) -> None:
    where = f"pipe:cat {shlex.quote(str(folder))}/genref_{{0..3}}.tar"
    with pytest.raises(InputError, match="is not on this machine yet"):
        shards_in(where, fetch=False)
    assert keys(where) == ALL
    assert capfd.readouterr().err.count("Fetching shard") == 4
    for shard in folder.iterdir():
        shard.unlink()
    assert keys(where) == ALL
    assert len(shards_in(where, fetch=False)) == 4
    assert "Fetching" not in capfd.readouterr().err


@pytest.fixture
def address(folder: Path) -> Iterator[str]:
    handler = functools.partial(_Quiet, directory=str(folder))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


def test_addresses_are_read_as_upstream_writes_them(address: str) -> None:
    assert keys(f"{address}/genref_{{0..3}}.tar") == ALL
    assert keys(f"pipe:curl -s -f -L {address}/genref_{{0..1}}.tar") == ALL[:4]


def test_an_address_or_command_that_fails_is_refused_and_leaves_no_shard(
    address: str, cache: Path
) -> None:
    refused = {
        "pipe:cat /nowhere/shard.tar": "could not be read. The command ended with status 1",
        f"pipe:head -c 2000 {Path(__file__)} ; exit 3": "ended with status 3",
        f"pipe:curl -s -f -L {address}/genref_9.tar": "ended with status 22",
        "pipe:true": "it is empty",
        "nonsense://a/b.tar": "could not be read",
    }
    for name, message in refused.items():
        with pytest.raises(InputError, match=message):
            shards_in(name)
    assert not list(cache.glob("*.tar"))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "xz": lzma.compress,
    "bz2": bz2.compress,
}


@pytest.mark.parametrize("kind", PACKED)
@pytest.mark.parametrize("suffix", ["", "own"])
def test_compressed_shards_are_read_whatever_they_are_called(
    folder: Path, kind: str, suffix: str
) -> None:
    for number in range(4):
        shard = folder / f"genref_{number}.tar"
        packed = PACKED[kind](shard.read_bytes())
        shard.unlink()
        shard.with_name(f"{shard.name}.{kind}" if suffix else shard.name).write_bytes(packed)
    assert keys(folder) == ALL
    assert keys(f"pipe:cat {next(iter(sorted(folder.iterdir())))}") == ALL[:2]


def test_a_compressed_shard_that_changes_is_unpacked_again(folder: Path) -> None:
    shard, other = folder / "genref_0.tar", folder / "genref_1.tar"
    shard.write_bytes(gzip.compress(shard.read_bytes()))
    assert keys(shard) == ALL[:2]
    shard.write_bytes(gzip.compress(other.read_bytes()))
    os.utime(shard, ns=(1, 1))
    assert keys(shard) == ALL[2:4]


def test_a_compressed_shard_that_breaks_off_keeps_its_whole_samples(folder: Path) -> None:
    shard = folder / "genref_0.tar"
    packed = gzip.compress(shard.read_bytes(), 0)
    shard.write_bytes(packed[: len(packed) * 6 // 10])
    triplets = Triplets(shards_in(shard))
    assert [found.key for found in triplets] == ALL[:1]
    assert triplets.skipped == {"shard truncated": 1}


def damaged_header(data: bytes) -> bytes:
    """With one bit of the third file's name turned, so that its checksum is wrong."""
    third = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"][2]
    return data[:third] + bytes([data[third] ^ 1]) + data[third + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        damaged_header,
        lambda data: data.rstrip(b"\0"),  # cut before the zeros of a tar's end
        lambda data: data.rstrip(b"\0") + bytes(2**21),  # space that a download reserved
    ],
)
def test_a_shard_that_is_damaged_between_its_files_is_counted(folder: Path, damage) -> None:
    shard = folder / "genref_0.tar"
    shard.write_bytes(damage(shard.read_bytes()))
    triplets = Triplets([shard])
    assert triplets.skipped == {"shard truncated": 1} and len(triplets) < 2
    assert Triplets([shard]).skipped == triplets.skipped  # no short index was kept


def test_zstandard_is_refused_with_the_command_that_unpacks_it(folder: Path) -> None:
    (folder / "genref_0.tar").write_bytes(b"\x28\xb5\x2f\xfd" + bytes(100))
    with pytest.raises(InputError, match="zstd -d FILE"):
        shards_in(folder)


def test_a_pointer_of_git_lfs_is_named(folder: Path) -> None:
    shard = folder / "genref_0.tar"
    shard.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 123\n")
    assert Triplets([shard]).skipped == {"shard is a Git LFS pointer": 1}


@pytest.mark.parametrize("data", [b"PK\x03\x04" + bytes(600), b"<html>404</html>", b"<p>" * 400])
def test_what_is_no_tar_file_is_not_called_truncated(folder: Path, data: bytes) -> None:
    shard = folder / "genref_0.tar"
    shard.write_bytes(data)
    assert Triplets([shard]).skipped == {"shard is not a tar file": 1}


def test_errors_of_a_library_for_remote_storage_are_one_sentence(monkeypatch) -> None:
    class ConnectError(Exception):
        """As of httpx: no OSError."""

    def refuse(*_: object, **__: object) -> None:
        raise ConnectError("Name or service not known")

    monkeypatch.setitem(gopen_schemes, "hf", refuse)
    with pytest.raises(InputError, match=r"hf://data/x.tar could not be read. Name or service not"):
        shards_in("hf://data/x.tar")


def test_texts_of_windows_editors_are_the_plain_ones(tmp_path: Path) -> None:
    shard, wanted = tmp_path / "s.tar", triplet("0")
    texts = {"prompt.txt": wanted.prompt, "subset.txt": wanted.subset}
    with TarWriter(str(shard), mtime=0) as tar:
        for key, encoding in enumerate(("utf-8", "utf-8-sig", "utf-16")):
            encoded = {name: text.encode(encoding) for name, text in texts.items()}
            tar.write({"__key__": str(key), **files_of(wanted), **encoded})
    triplets = Triplets([shard])
    assert (len(triplets), triplets.skipped) == (3, {})
    assert len(set(triplets.entries.prompts.tolist())) == 1


# -- the index ------------------------------------------------------------------------------------


@pytest.fixture
def walks(monkeypatch) -> list[str]:
    """The tars whose headers were walked."""
    found: list[str] = []
    before = tarfile.open

    def opened(name: object, *args: object, **kw: object) -> object:
        found.append(Path(str(name)).name)
        return before(name, *args, **kw)  # type: ignore[call-overload]

    monkeypatch.setattr(tarfile, "open", opened)
    return found


def test_headers_are_walked_once(folder: Path, walks: list[str]) -> None:
    first = Triplets(shards_in(folder))
    assert len(walks) == 4
    second = Triplets(shards_in(folder))
    assert len(walks) == 4
    assert list(second.entries) == list(first.entries)
    assert second.skipped == first.skipped
    assert [found.prompt for found in second] == [f"prompt {key}" for key in ALL]


def test_an_index_of_another_shard_is_not_believed(folder: Path, walks: list[str]) -> None:
    shard, other = folder / "genref_0.tar", folder / "genref_1.tar"
    index_of(shard)
    other.replace(shard)  # of the same size
    assert keys(shard) == ALL[2:4]
    assert walks == ["genref_0.tar"] * 2


def test_an_index_that_is_older_than_its_shard_is_made_again(folder: Path) -> None:
    shard = folder / "genref_0.tar"
    index_of(shard)
    shard.write_bytes(shard.read_bytes().replace(b"general", b"editing"))
    later = (folder / "genref_0.tar.index").stat().st_mtime_ns + 1_000_000
    os.utime(shard, ns=(later, later))
    assert index_of(shard).subset_names == ("editing",)


@pytest.mark.parametrize("order", [(0, 0, 1), (0, 1, 0)])
def test_a_key_that_is_there_twice_is_that_of_two_samples(tmp_path: Path, order) -> None:
    keys = ("k", "siblings~1")
    made = [replace(triplet(keys[key]), prompt=f"prompt {i}") for i, key in enumerate(order)]
    with TarWriter(str(tmp_path / "some.tar")) as tar:
        for each in made:
            tar.write({"__key__": each.key, **files_of(each)})
    found = Triplets(shards_in(tmp_path))
    assert [(t.key, t.prompt) for t in found] == [(t.key, t.prompt) for t in made]
    assert len(set(found.entries.prompts.tolist())) == len(set(found.entries.groups())) == 3


@pytest.mark.parametrize(
    "damaged",
    [b"", b"{", b"\xff" * 100, b'{"version": 1}', b"[" * 100_000, save({"a": np.ones(2)})],
)
def test_a_damaged_index_is_made_again(folder: Path, walks: list[str], damaged: bytes) -> None:
    shard = folder / "genref_0.tar"
    index_of(shard)
    beside = folder / "genref_0.tar.index"
    whole = beside.read_bytes()
    beside.write_bytes(damaged)
    assert keys(shard) == ALL[:2]
    assert beside.read_bytes() == whole
    assert len(walks) == 2


@pytest.mark.parametrize(
    "change",
    [
        {"offsets": np.zeros((2, 5), np.int64)},
        {"offsets": np.full((2, 6), -2, np.int64)},
        {"sizes": np.zeros((2, 6), np.float32)},
        {"ends": np.array([9, 3])},
        {"subsets": np.array([0, 9], np.uint8)},
        {"prompts": np.zeros(3, np.uint64)},
    ],
)
def test_an_index_with_odd_numbers_is_made_again(folder: Path, walks: list[str], change) -> None:
    shard, beside = folder / "genref_0.tar", folder / "genref_0.tar.index"
    index_of(shard)
    with safe_open(beside, "np") as stored:
        metadata = stored.metadata()
    beside.write_bytes(save({**load(beside.read_bytes()), **change}, metadata))
    assert keys(shard) == ALL[:2]
    assert len(walks) == 2


def test_prompts_of_the_same_words_have_one_number(tmp_path: Path) -> None:
    asked = ["a red cup", "A photo of the red cup.", "two red cups"]
    with TarWriter(str(tmp_path / "some.tar")) as tar:
        for key, prompt in enumerate(asked):
            made = replace(triplet(str(key)), prompt=prompt)
            tar.write({"__key__": made.key, **files_of(made)})
    numbers = Triplets(shards_in(tmp_path)).entries.prompts.tolist()
    assert numbers[0] == numbers[1] != numbers[2]


@pytest.mark.parametrize(
    "texts",
    ["कि की", "☀ ☁", "C C++ C#", "50 50%", "5€ 5$", "R&B RB", "cafe café"],
)
def test_marks_and_symbols_tell_prompts_apart(texts: str) -> None:
    asked = texts.split()
    assert len({digest(text) for text in asked}) == len(asked)


def test_what_only_looks_different_is_one_prompt() -> None:
    same = ["Café, ☀️ | क्ष", "cafe\u0301 ☀ क्\u200dष!"]
    assert digest(same[0]) == digest(same[1])


def test_a_broken_shard_gets_no_index(folder: Path) -> None:
    shard = folder / "genref_0.tar"
    shard.write_bytes(shard.read_bytes()[:7000])
    assert Triplets([shard]).skipped == {"shard truncated": 1}
    assert not (folder / "genref_0.tar.index").exists()


def test_a_folder_that_may_only_be_read_is_read(folder: Path, monkeypatch) -> None:
    def refuse(*_: object) -> None:
        raise InputError("Cannot write")

    monkeypatch.setattr("train.shard_index.files.replace_file", refuse)
    assert keys(folder) == ALL
    assert not list(folder.glob("*.index"))


def test_a_shard_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no shard"):
        Triplets([tmp_path / "gone.tar"])
