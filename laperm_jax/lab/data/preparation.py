"""Preparing datasets without TensorFlow: downloads with pinned checksums, and records by TFDS's own writers.

TensorFlow Datasets (4.9) needs TensorFlow to read the raw files and to encode images as PNG. Here NumPy and OpenCV do
that; TFDS shuffles, shards and describes as ever, so that the examples and their order are those of its own preparing.
"""

import contextlib
import gzip
import hashlib
import http.client
import io
import os
import shutil
import tarfile
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from laperm_jax.lab.config import ConfigError

Say = Callable[[str], object]
Examples = Iterator[tuple[Any, dict[str, Any]]]  # key that TFDS shuffles by, and features

_TIMEOUT = 60  # seconds without a byte


class Source(NamedTuple):
    """A file to download: its address, name, size in bytes and SHA-256, all of them as TFDS keeps them."""

    url: str
    name: str
    size: int
    sha256: str


def sources(builder: Any) -> list[Source]:
    """The raw files of a dataset, pinned by the installed TensorFlow Datasets."""
    infos = builder.url_infos.items()
    return [Source(url, info.filename, int(info.size), info.checksum) for url, info in infos]


def prepare(builder: Any, say: Say) -> None:
    """Downloads what is not there yet, and writes the records.

    Args:
      builder: TFDS's builder of ``mnist``, ``cifar10`` or ``tiny_shakespeare``.
      say: prints a line.

    Raises:
      ConfigError: if a file cannot be downloaded, or is not the one that TFDS knows.
    """
    import tensorflow_datasets as tfds

    folder = Path(builder.data_dir).parents[1] / "downloads" / builder.name
    files = {source.name: fetch(source, folder, say) for source in sources(builder)}
    say(f"writing {builder.data_dir}")
    make_splits = {"mnist": _mnist, "cifar10": _cifar10, "tiny_shakespeare": _tiny_shakespeare}[builder.name]
    # GeneratorBasedBuilder's own hook, of this builder alone: a subclass would be a second dataset of the name.
    builder._split_generators = lambda *_, **__: make_splits(files, builder)
    tfds.disable_progress_bar()
    with Path(os.devnull).open("w") as devnull, contextlib.redirect_stdout(devnull):
        builder.download_and_prepare(file_format="array_record")


def fetch(source: Source, folder: Path, say: Say) -> Path:
    """Downloads a file, from where an earlier attempt stopped; returns its path.

    Raises:
      ConfigError: if that fails, or the file is not the one that is expected.
    """
    path, part = folder / source.name, folder / f"{source.name}.part"
    if path.exists() and _sha256(path) == source.sha256:
        return path
    say(f"downloading {source.url} ({source.size / 1e6:.1f} MB)")
    by_hand = f"run the command again to resume, or put the file in {folder} yourself"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        done = part.stat().st_size if part.exists() else 0
        if done < source.size:
            _download(source, part, done)
        size = part.stat().st_size
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", None) or error
        raise ConfigError(f"{source.url} cannot be downloaded: {reason}; {by_hand}") from error
    if size < source.size:
        raise ConfigError(f"{source.url}: the connection ended after {size} of {source.size} bytes; {by_hand}")
    if (found := _sha256(part)) != source.sha256:
        part.unlink()
        raise ConfigError(
            f"{source.url} has the SHA-256 {found} instead of {source.sha256}, and was removed; {by_hand}"
        )
    part.replace(path)
    return path


def _download(source: Source, part: Path, done: int) -> None:
    request = urllib.request.Request(source.url, headers={"Range": f"bytes={done}-"} if done else {})
    with contextlib.ExitStack() as stack:
        response = stack.enter_context(urllib.request.urlopen(request, timeout=_TIMEOUT))
        continues = response.status == http.HTTPStatus.PARTIAL_CONTENT  # else the server knows no ranges
        shutil.copyfileobj(response, stack.enter_context(part.open("ab" if continues else "wb")))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mnist(files: dict[str, Path], builder: Any) -> dict[str, Examples]:
    def examples(prefix: str) -> Examples:
        images = _read_idx(files[f"{prefix}-images-idx3-ubyte.gz"])
        labels = _read_idx(files[f"{prefix}-labels-idx1-ubyte.gz"])
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            yield number, {"image": _png(image), "label": int(label)}

    return {"train": examples("train"), "test": examples("t10k")}


def _read_idx(path: Path) -> np.ndarray:
    """The bytes of an idx file: two zeros, the type 8, the number of axes, their sizes in big-endian, the values."""
    content = gzip.decompress(path.read_bytes())
    shape = np.frombuffer(content, ">u4", count=content[3], offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * len(shape)).reshape(shape)


def _cifar10(files: dict[str, Path], builder: Any) -> dict[str, Examples]:
    folder = "cifar-10-batches-bin"
    with tarfile.open(files["cifar-10-binary.tar.gz"]) as archive:
        content = {member.name: archive.extractfile(member).read() for member in archive if member.isfile()}  # type: ignore[union-attr]
    builder.info.features["label"].names = content[f"{folder}/batches.meta.txt"].decode().split()

    def examples(split: str, *names: str) -> Examples:
        records = np.frombuffer(b"".join(content[f"{folder}/{name}.bin"] for name in names), np.uint8)
        for number, record in enumerate(records.reshape(-1, 1 + 3 * 32 * 32)):  # a label, then the planes of colours
            image = record[1:].reshape(3, 32, 32).transpose(1, 2, 0)
            yield number, {"id": f"{split}_{number:05d}", "image": _png(image), "label": int(record[0])}

    batches = [f"data_batch_{number}" for number in range(1, 6)]
    return {"train": examples("train", *batches), "test": examples("test", "test_batch")}


def _tiny_shakespeare(files: dict[str, Path], builder: Any) -> dict[str, Examples]:
    text = files["input.txt"].read_bytes().decode()
    first = int(len(text) * 0.9)  # 90, 5 and 5 percent
    second = first + int((len(text) - first) * 0.5)
    parts = {"train": text[:first], "validation": text[first:second], "test": text[second:]}
    return {split: iter([(split, {"text": part})]) for split, part in parts.items()}


def _png(image: np.ndarray) -> io.BytesIO:
    """An image uint8 ``(height, width)`` or ``(height, width, 3)`` as a file, which TFDS takes as it is."""
    import cv2

    bgr = image[..., ::-1] if image.ndim == 3 else image
    return io.BytesIO(cv2.imencode(".png", bgr, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes())
