"""Envelope encryption of records: AES-256-GCM with a data key per record, wrapped by the key-encryption key.

Knows no record's meaning. The caller's `aad` says where a record belongs (table, id, ...): a ciphertext that was
moved to another place does not open there.
"""

import base64
import binascii
import contextlib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from app.settings import Secret, Settings, SettingsError

FORMAT: Final = b"\x01"
KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
VERSION_BYTES: Final = 8
WRAPPED_BYTES: Final = NONCE_BYTES + KEY_BYTES + 16
HEADER_BYTES: Final = len(FORMAT) + VERSION_BYTES
KEY_FILE: Final = "encryption.key"


class SealError(Exception):
    """A sealed record does not open: wrong key, moved from elsewhere, or damaged."""


class Keyring:
    """The key-encryption keys: the first seals, all open. A key's version is a digest of it.

    keys: 32 bytes each. Two are live during a rotation: `Keyring([new, old])`.
    """

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise SettingsError("encryption_key must be 32 bytes, written in base64 (44 characters)")
        self._keys = {version(key): AESGCM(key) for key in keys}
        self._current = version(keys[0])

    @classmethod
    def from_settings(cls, settings: Settings) -> "Keyring":
        """The key of the settings, or else that of `data_dir/encryption.key`, made (mode 0600) at the first use."""
        text = settings.encryption_key or read_or_make(settings.data_dir / KEY_FILE)
        return cls([decode(part) for part in text.reveal().replace(",", " ").split()])

    def seal(self, plaintext: bytes, aad: bytes) -> bytes:
        """Encrypt under a fresh data key. aad: where the record belongs; needed again to open it."""
        header = FORMAT + self._current
        data_key, nonce = AESGCM.generate_key(256), os.urandom(NONCE_BYTES)
        sealed = AESGCM(data_key).encrypt(nonce, plaintext, FORMAT + aad)
        return header + self._wrap(data_key, aad) + nonce + sealed

    def open(self, sealed: bytes, aad: bytes) -> bytes:
        """The plaintext. Raises SealError."""
        data_key, body = self._unwrap(sealed, aad)
        try:
            return AESGCM(data_key).decrypt(body[:NONCE_BYTES], body[NONCE_BYTES:], FORMAT + aad)
        except (InvalidTag, ValueError) as error:
            raise SealError("the record was damaged, or belongs elsewhere") from error

    def is_current(self, sealed: bytes) -> bool:
        """Whether the record is under the key that seals now."""
        return sealed[:HEADER_BYTES] == FORMAT + self._current

    def rewrap(self, sealed: bytes, aad: bytes) -> bytes:
        """The same record under the key that seals now; its body is not decrypted. Raises SealError."""
        data_key, body = self._unwrap(sealed, aad)
        return FORMAT + self._current + self._wrap(data_key, aad) + body

    def _wrap(self, data_key: bytes, aad: bytes) -> bytes:
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._keys[self._current].encrypt(nonce, data_key, FORMAT + self._current + aad)

    def _unwrap(self, sealed: bytes, aad: bytes) -> tuple[bytes, bytes]:
        """The data key, and the nonce and ciphertext of the body."""
        header, rest = sealed[:HEADER_BYTES], sealed[HEADER_BYTES:]
        if header[: len(FORMAT)] != FORMAT or len(rest) < WRAPPED_BYTES:
            raise SealError("this is not a sealed record of this version")
        if (key := self._keys.get(header[len(FORMAT) :])) is None:
            raise SealError("the record was sealed with a key that this process does not have")
        wrapped = rest[:WRAPPED_BYTES]
        try:
            return key.decrypt(wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], header + aad), rest[WRAPPED_BYTES:]
        except InvalidTag as error:
            raise SealError("the record was damaged, or belongs elsewhere") from error


def version(key: bytes) -> bytes:
    """8 bytes that name a key and tell nothing about it."""
    return hashlib.sha256(b"kubenexus key version\0" + key).digest()[:VERSION_BYTES]


def decode(text: str) -> bytes:
    """A key from base64, standard or URL-safe. Raises SettingsError."""
    try:
        return base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except binascii.Error as error:
        raise SettingsError("encryption_key is not base64") from error


def read_or_make(path: Path) -> Secret:
    """The text of a key file; made, complete or not at all, when it does not exist."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if not path.exists():
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(base64.b64encode(os.urandom(KEY_BYTES)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            path.hardlink_to(scratch)  # unlike rename, loses a race to another process
        scratch.unlink()
    if path.stat().st_mode & 0o077:
        raise SettingsError(f"{path} can be read by others: run chmod 600 on it")
    return Secret(path.read_text().strip())
