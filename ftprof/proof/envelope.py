"""The DSSE envelope: a payload with one signature, in one strict form.

DSSE alone leaves slack: base64 of either alphabet, unused bits before its padding, keys that nobody reads, any spacing,
and more signatures beside the one that counts. Here an envelope's bytes must be the ones that ftprof writes for its
content.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ftprof.errors import UntrustedInput
from ftprof.proof.holding import DoesNotHold, Place
from ftprof.record.canonical import canonical

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

    from ftprof.proof.keys import PublicKey

PAYLOAD_TYPE = "application/vnd.in-toto+json"
_HEX = re.compile(r"[0-9a-f]{64}\Z", re.ASCII)
_SIGNATURE_BYTES = 64  # of Ed25519


@dataclass(frozen=True)
class Envelope:
    """A payload, and the one signature over it by the key with this id."""

    payload: bytes
    key_id: str
    signature: bytes

    def to_bytes(self) -> bytes:
        """The one form of its file."""
        return _serialised(self.payload, self.key_id, self.signature)


def default_envelope(record: Path) -> Path:
    """Where the envelope of a record lies unless it is named: RECORD.intoto.json beside RECORD.json."""
    if not record.name:
        raise UntrustedInput(f"record {record} is no file; name the file that 'ftprof wrap' wrote")
    return record.with_name(f"{record.name.removesuffix('.json')}.intoto.json")


def sign(payload: bytes, signer: CryptoSigner) -> Envelope:
    """An envelope for this payload."""
    from securesystemslib.dsse import Envelope as Dsse

    signature = Dsse(payload, PAYLOAD_TYPE, {}).sign(signer)
    return Envelope(payload, signature.keyid, bytes.fromhex(signature.signature))


def check_signature(envelope: Envelope, public_key: PublicKey, name: str) -> None:
    """Raises ``DoesNotHold`` where this key did not sign the payload. ``name`` is that of the envelope's file."""
    from securesystemslib.dsse import Envelope as Dsse
    from securesystemslib.exceptions import VerificationError
    from securesystemslib.signer import Signature

    if envelope.key_id != public_key.id:
        place = Place(name, 1, "signatures[0].keyid")
        raise DoesNotHold(place, f"it names key {envelope.key_id}, the public key given is {public_key.id}")
    signature = Signature(envelope.key_id, envelope.signature.hex())
    try:
        Dsse(envelope.payload, PAYLOAD_TYPE, {envelope.key_id: signature}).verify([public_key.key], 1)
    except VerificationError as error:
        place = Place(name, 1, "payload or signatures[0].sig")
        raise DoesNotHold(place, f"the signature is not that of key {public_key.id} over this payload") from error


def open_envelope(content: bytes, name: str) -> Envelope:
    """Read an envelope's bytes. Raises ``DoesNotHold`` for anything but the strict form."""
    try:
        data = json.loads(content.decode("ascii"))
    except (ValueError, RecursionError) as error:
        at = getattr(error, "start", getattr(error, "pos", 0))
        line = content.count(b"\n", 0, at) + 1
        raise DoesNotHold(Place(name, line), f"it is no JSON in ASCII, at byte {at + 1}") from error
    fields = ("payload", "payloadType", "signatures")
    _require_keys(data, fields, name, "")
    if data["payloadType"] != PAYLOAD_TYPE:
        raise DoesNotHold(Place(name, 1, "payloadType"), f"it is not {PAYLOAD_TYPE}")
    signatures = data["signatures"]
    if not isinstance(signatures, list) or len(signatures) != 1:
        raise DoesNotHold(Place(name, 1, "signatures"), "it is not exactly one signature")
    _require_keys(signatures[0], ("keyid", "sig"), name, "signatures[0]")
    key_id = signatures[0]["keyid"]
    if not isinstance(key_id, str) or not _HEX.match(key_id):
        raise DoesNotHold(Place(name, 1, "signatures[0].keyid"), "it is no SHA-256 in 64 hexadecimal digits")
    signature = _decoded(signatures[0]["sig"], name, "signatures[0].sig")
    if len(signature) != _SIGNATURE_BYTES:
        raise DoesNotHold(Place(name, 1, "signatures[0].sig"), f"it has not the {_SIGNATURE_BYTES} bytes of Ed25519")
    envelope = Envelope(_decoded(data["payload"], name, "payload"), key_id, signature)
    if envelope.to_bytes() != content:
        at = _first_slack(content, envelope.to_bytes())
        line = content.count(b"\n", 0, at) + 1
        raise DoesNotHold(Place(name, line), f"it is not written in its one form, from byte {at + 1} on")
    return envelope


def _serialised(payload: bytes, key_id: str, signature: bytes) -> bytes:
    content = {
        "payload": base64.b64encode(payload).decode("ascii"),
        "payloadType": PAYLOAD_TYPE,
        "signatures": [{"keyid": key_id, "sig": base64.b64encode(signature).decode("ascii")}],
    }
    return canonical(content) + b"\n"


def _decoded(text: Any, name: str, field: str) -> bytes:
    try:
        content = base64.b64decode(text, validate=True) if isinstance(text, str) else None
    except ValueError:
        content = None
    if content is None or base64.b64encode(content).decode("ascii") != text:
        raise DoesNotHold(Place(name, 1, field), "it is not in strict base64 (RFC 4648, section 4)")
    return content


def _require_keys(data: Any, keys: tuple[str, ...], name: str, field: str) -> None:
    if not isinstance(data, dict):
        raise DoesNotHold(Place(name, 1, field or None), "it is no object")
    for key in [*keys, *data]:
        if key not in data or key not in keys:
            inner = f"{field}.{key}" if field else key
            raise DoesNotHold(Place(name, 1, inner), "it is missing" if key in keys else "it is no field of the form")


def _first_slack(found: bytes, strict: bytes) -> int:
    return next((at for at, (a, b) in enumerate(zip(found, strict, strict=False)) if a != b), len(strict))
