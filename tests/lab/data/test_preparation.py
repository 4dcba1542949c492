"""Preparing from raw files in their real formats: downloads that resume and are checked, records as TFDS writes them.

The extra [dev] brings no TensorFlow, so what passes here needs none.
"""

import functools
import gzip
import hashlib
import http.server
import io
import os
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest

from laperm_jax.lab.config import ConfigError
from laperm_jax.lab.data import datasets, preparation

needs_tfds = pytest.mark.skipif(
    not (Path(os.environ.get("TFDS_DATA_DIR", "missing")) / "tiny_shakespeare").is_dir(),
    reason="TFDS_DATA_DIR names no data directory with tiny_shakespeare",
)


class Handler(http.server.SimpleHTTPRequestHandler):
    """Files of a folder, or what is left of them from a byte on; with ``limit``, only so many bytes."""

    limit: int | None = None

    def do_GET(self):
        content = Path(self.translate_path(self.path)).read_bytes()
        start = int(self.headers.get("Range", "bytes=0-")[6:-1])
        self.server.starts.append(start)  # before the client can have read the end
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        self.wfile.write(content[start : start + self.limit if self.limit else None])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path):
    """Serves tmp_path/raw on this machine; ``starts`` are the first bytes that were asked for."""
    (tmp_path / "raw").mkdir()
    handler = functools.partial(Handler, directory=tmp_path / "raw")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.starts = []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


def source(server, folder, name, content):
    (folder / "raw" / name).write_bytes(content)
    url = f"http://127.0.0.1:{server.server_port}/{name}"
    return preparation.Source(url, name, len(content), hashlib.sha256(content).hexdigest())


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes()
    return gzip.compress(header + array.tobytes())


def cifar_tar(train, test):
    """The archive of CIFAR-10: records of a label and three planes of colour."""
    pack = lambda split: b"".join(
        bytes([label]) + image.transpose(2, 0, 1).tobytes()
        for image, label in zip(split.images, split.labels, strict=True)
    )
    batches = np.array_split(np.arange(len(train)), 5)
    files = {
        f"data_batch_{n}.bin": pack(datasets.Split(train.images[b], train.labels[b])) for n, b in enumerate(batches, 1)
    }
    files |= {"test_batch.bin": pack(test), "batches.meta.txt": "\n".join(map(str, range(10))).encode() + b"\n\n"}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def as_set(split):
    return sorted((image.tobytes(), int(label)) for image, label in zip(split.images, split.labels, strict=True))


def some(name, split, count):
    """The first examples of the prepared dataset where there is one, and random ones elsewhere."""
    shape, folder = datasets.IMAGE_SHAPES[name], Path(os.environ.get("TFDS_DATA_DIR", "missing"))
    if not (folder / name).is_dir():
        rng = np.random.default_rng(count)
        return datasets.Split(rng.integers(0, 256, (count, *shape), np.uint8), rng.integers(0, 10, count, np.int32))
    records = datasets._builder(name, folder).as_data_source(split=split).__getitems__(range(count))
    return datasets.Split(
        np.stack([record["image"] for record in records]), np.array([record["label"] for record in records], np.int32)
    )


def test_mnist_from_its_raw_files(tmp_path, server, monkeypatch):
    train, test = some("mnist", "train", 70), some("mnist", "test", 30)
    raw = {
        f"{prefix}-{kind}-idx{axes}-ubyte.gz": idx(array)
        for prefix, split in (("train", train), ("t10k", test))
        for kind, axes, array in (("images", 3, split.images[..., 0]), ("labels", 1, split.labels.astype(np.uint8)))
    }
    files = [source(server, tmp_path, name, content) for name, content in raw.items()]
    monkeypatch.setattr(preparation, "sources", lambda builder: files)
    lines = []
    folder = datasets.prepare("mnist", tmp_path / "data", lines.append)
    assert folder == tmp_path / "data" / "mnist" / "3.0.1"
    assert len(lines) == 5
    found = datasets.load("mnist", tmp_path / "data")
    assert as_set(found.train) == as_set(train)
    assert as_set(found.test) == as_set(test)
    assert datasets.prepare("mnist", tmp_path / "data", lines.append) == folder
    assert len(lines) == 5  # nothing more to do


def test_cifar10_from_its_raw_files(tmp_path, server, monkeypatch):
    train, test = some("cifar10", "train", 25), some("cifar10", "test", 10)
    file = source(server, tmp_path, "cifar-10-binary.tar.gz", cifar_tar(train, test))
    monkeypatch.setattr(preparation, "sources", lambda builder: [file])
    datasets.prepare("cifar10", tmp_path / "data")
    records = datasets._builder("cifar10", tmp_path / "data").as_data_source(split="test")
    assert sorted(record["id"] for record in records) == [f"test_{number:05d}".encode() for number in range(10)]
    found = datasets.load("cifar10", tmp_path / "data")
    assert as_set(found.train) == as_set(train)
    assert as_set(found.test) == as_set(test)


@needs_tfds
def test_the_text_is_the_one_whose_checksum_tfds_pins(tmp_path):
    """The raw file put together from prepared records passes the real checksum, and is prepared to the same text."""
    real = datasets.load("tiny_shakespeare")
    vocabulary = np.frombuffer(real.vocabulary, np.uint8)
    downloads = tmp_path / "downloads" / "tiny_shakespeare"
    downloads.mkdir(parents=True)
    parts = (real.train, real.validation, real.test)
    (downloads / "input.txt").write_bytes(b"".join(vocabulary[part].tobytes() for part in parts))
    datasets.prepare("tiny_shakespeare", tmp_path)
    found = datasets.load("tiny_shakespeare", tmp_path)
    whole = lambda text: np.concatenate([text.train, text.validation, text.test])
    np.testing.assert_array_equal(whole(found), whole(real))
    assert [len(part) for part in (found.train, found.validation, found.test)] == [1_003_854, 55_770, 55_770]
    assert found.vocabulary == real.vocabulary


def test_a_download_that_was_cut_short_is_resumed(tmp_path, server, monkeypatch):
    content = np.random.default_rng(0).bytes(100_000)
    file = source(server, tmp_path, "file", content)
    monkeypatch.setattr(Handler, "limit", 30_000)
    with pytest.raises(ConfigError, match=r"after 30000 of 100000 bytes; run the command again to resume"):
        preparation.fetch(file, tmp_path / "downloads", print)
    monkeypatch.setattr(Handler, "limit", None)
    path = preparation.fetch(file, tmp_path / "downloads", print)
    assert path.read_bytes() == content
    assert server.starts == [0, 30_000]
    assert preparation.fetch(file, tmp_path / "downloads", print) == path
    assert server.starts == [0, 30_000]  # what is there is not downloaded again
    assert [path.name for path in (tmp_path / "downloads").iterdir()] == ["file"]


def test_a_wrong_file_is_refused_and_removed(tmp_path, server):
    file = source(server, tmp_path, "file", b"right")._replace(sha256="0" * 64)
    with pytest.raises(ConfigError, match="instead of 0000"):
        preparation.fetch(file, tmp_path / "downloads", print)
    assert not list((tmp_path / "downloads").iterdir())


def test_no_connection_is_said_in_a_sentence(tmp_path, server):
    file = source(server, tmp_path, "file", b"right")._replace(url="http://127.0.0.1:1/file")
    with pytest.raises(ConfigError, match=r"cannot be downloaded: .*refused; run the command again .* put the file in"):
        preparation.fetch(file, tmp_path / "downloads", print)


@pytest.mark.parametrize(("name", "files", "megabytes"), [("mnist", 4, 11.6), ("cifar10", 1, 170.1)])
def test_sources_are_pinned_by_tfds(name, files, megabytes, tmp_path):
    pinned = preparation.sources(datasets._builder(name, tmp_path))
    assert len(pinned) == files
    assert all(len(bytes.fromhex(file.sha256)) == 32 for file in pinned)
    assert sum(file.size for file in pinned) / 1e6 == pytest.approx(megabytes, abs=0.05)
