"""The file: a checksum, a compressed header, and the contents of all arrays."""

import hashlib
import json
import zlib
from collections.abc import Iterable
from typing import Any, NoReturn

from laperm_jax.codec._fields import integer, text

VERSION = 1
"""The version of the file format: the only one that `unpack` reads."""

MAX_HEADER = 2**22  # bytes of JSON
MAX_TENSORS = 2**12
_MAGIC = b"\x93LAPERM"
_DIGEST = hashlib.sha256().digest_size
_PREFIX = len(_MAGIC) + 1 + _DIGEST
_LENGTH = 8  # bytes that hold the length of the compressed header


class CodecError(ValueError):
    """An invalid file, or one that cannot be unpacked here; the message says why, and what to do."""


def write(header: dict[str, Any], contents: Iterable[bytes]) -> bytes:
    """Makes the file of a header and the contents of its arrays.

    Raises:
      ValueError: if the header has more arrays or is longer than :func:`read` allows, or holds what JSON does not.
    """
    try:
        content = json.dumps(header, separators=(",", ":"), allow_nan=False).encode()
    except TypeError as error:
        raise ValueError(f"the header cannot be written as JSON: {error}") from None
    if len(content) > MAX_HEADER or len(header["tensors"]) > MAX_TENSORS:
        raise ValueError(
            f"{len(header['tensors']):,} arrays and a header of {len(content):,} bytes; the format allows "
            f"{MAX_TENSORS:,} and {MAX_HEADER:,}"
        )
    packed = zlib.compress(content, level=9)
    rest = b"".join([len(packed).to_bytes(_LENGTH, "little"), packed, *contents])
    return _MAGIC + bytes([VERSION]) + hashlib.sha256(rest).digest() + rest


def read(file: bytes) -> tuple[dict[str, Any], memoryview]:
    """Returns the header, its ``tensors`` a list that is not checked further, and the contents of all arrays.

    Raises:
      CodecError: if the file is damaged, of another format or version, or its header is invalid.
    """
    view = memoryview(file)
    if view[: len(_MAGIC)] != _MAGIC:
        raise CodecError("Invalid file: not a packed network; `laperm pack` writes them")
    if view[len(_MAGIC) : len(_MAGIC) + 1] != bytes([VERSION]):
        raise CodecError(
            f"Invalid file: it is damaged, or of another version of the format than {VERSION}; update laperm_jax"
        )
    rest = view[_PREFIX:]
    if hashlib.sha256(rest).digest() != view[_PREFIX - _DIGEST : _PREFIX]:
        raise CodecError("Invalid file: damaged or truncated, its checksum does not match; download it again")
    length = int.from_bytes(rest[:_LENGTH], "little")
    if length > len(rest) - _LENGTH:
        raise CodecError("Invalid file: its header is longer than the file")
    try:
        header = json.loads(_inflate(rest[_LENGTH : _LENGTH + length]), parse_constant=_refuse_constant)
        _check(header)
    except (AttributeError, KeyError, RecursionError, TypeError, ValueError, zlib.error) as error:
        raise CodecError(f"Invalid header: {error!r}"[:500]) from None
    return header, rest[_LENGTH + length :]


def _inflate(compressed: memoryview) -> bytes:
    inflater = zlib.decompressobj()
    content = inflater.decompress(compressed, MAX_HEADER)
    if not inflater.eof or inflater.unused_data:
        raise ValueError(f"it is cut short, longer than {MAX_HEADER:,} bytes, or followed by something else")
    return content


def _check(header: Any) -> None:
    for name in ("jax", "platform", "sha256"):
        text(header[name])
    for value in header["metadata"].values():
        if not isinstance(value, str):
            raise TypeError("the metadata hold something that is no text")
        value.encode()  # refuses halves of surrogate pairs
    if not isinstance(header["tensors"], list):
        raise TypeError("its arrays are no list")
    integer(len(header["tensors"]), limit=MAX_TENSORS + 1)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")
