"""Ed25519 keys in PEM files: made, loaded, and named by the hash of the public key.

``securesystemslib`` and ``cryptography`` come with the extra ``sign`` and are imported only where a key is used.
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftprof.errors import FtprofError, UntrustedInput, UsageProblem

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
    from securesystemslib.signer import CryptoSigner, SSlibKey

_LARGEST_FILE = 65_536


@dataclass(frozen=True)
class PublicKey:
    """A public key and its id."""

    id: str
    key: SSlibKey


def key_id(public: Ed25519PublicKey) -> str:
    """The SHA-256, in hexadecimal digits, of the key as DER-encoded SubjectPublicKeyInfo (RFC 8410).

    The same as ``openssl pkey -pubin -in FILE.pub -outform DER | sha256sum``.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def make_key(path: Path) -> tuple[Path, str]:
    """Write a new private key (only its owner can read it) and beside it FILE.pub; the latter's path and the key's id.

    Raises ``UsageProblem`` where one of the two exists, ``FtprofError`` where one cannot be written.
    """
    _require_libraries()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

    beside = path.with_name(path.name + ".pub")
    private = Ed25519PrivateKey.generate()
    public = private.public_key()
    contents = {
        path: (private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), 0o600),
        beside: (public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo), 0o644),
    }
    made: list[Path] = []
    try:
        for where, (content, mode) in contents.items():
            with os.fdopen(os.open(where, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
                made.append(where)
                file.write(content)
    except OSError as error:
        for half in made:
            half.unlink(missing_ok=True)
        if isinstance(error, FileExistsError):
            raise UsageProblem(f"{where} exists, and no key is overwritten; give another file") from error
        raise FtprofError(f"the key {where} cannot be written: {error.strerror}") from error
    return beside, key_id(public)


def load_private_key(path: Path) -> CryptoSigner:
    """What signs with the private key in a file. Raises ``UntrustedInput`` where it is no Ed25519 key in PEM."""
    _require_libraries()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner, SSlibKey

    content = _read(path)
    try:
        private: Any = load_pem_private_key(content, None)
    except TypeError as error:
        raise UntrustedInput(
            f"key {path} has a passphrase, which ftprof cannot ask for; give it without one, or make one with "
            "'ftprof sign --new-key FILE'"
        ) from error
    except Exception as error:  # what cryptography raises differs from version to version
        raise _no_key(path, "private") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise _no_key(path, "private")
    signing: Ed25519PrivateKey = private
    public = signing.public_key()
    return CryptoSigner(signing, SSlibKey.from_crypto(public, key_id(public)))


def load_public_key(path: Path) -> PublicKey:
    """The public key in a file. Raises ``UntrustedInput`` where it is no Ed25519 key in PEM."""
    _require_libraries()
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    content = _read(path)
    try:
        public: Any = load_pem_public_key(content)
    except Exception as error:  # what cryptography raises differs from version to version
        raise _no_key(path, "public") from error
    if not isinstance(public, Ed25519PublicKey):
        raise _no_key(path, "public")
    identity = key_id(public)
    return PublicKey(identity, SSlibKey.from_crypto(public, identity))


def _no_key(path: Path, which: str) -> UntrustedInput:
    return UntrustedInput(
        f"key {path} is no {which} Ed25519 key in PEM; 'ftprof sign --new-key FILE' makes FILE, the private key, and "
        "FILE.pub, the public one"
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_LARGEST_FILE)
    except OSError as error:
        raise UntrustedInput(f"key {path} cannot be read: {error.strerror}") from error


def _require_libraries() -> None:
    try:
        import cryptography  # noqa: F401
        import securesystemslib.dsse  # noqa: F401
    except ImportError as error:
        raise FtprofError(
            f"signatures need securesystemslib and cryptography ({error.name} is missing); pip install 'ftprof[sign]'"
        ) from error
