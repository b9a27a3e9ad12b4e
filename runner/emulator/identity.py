"""Who the emulator is: a secret, a certificate authority of its own, tokens and signatures that only it can make.

Loopback is no boundary on a machine with several users: whoever has no token gets nothing.
"""

from __future__ import annotations

import base64
import contextlib
import datetime
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HOUR = 3600
# Azure's access tokens live about an hour; run tokens and the signatures of addresses longer.
TOKEN_SECONDS = HOUR
RUN_TOKEN_SECONDS = 30 * 24 * HOUR
ADDRESS_SECONDS = 24 * HOUR
CA_DAYS = 3650
SECRET_BYTES = 32
PEM = re.compile(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Identity:
    """`secret` is the key of everything signed here; `path_secret` is the part of it that travels in MSI_ENDPOINT."""

    secret: bytes
    folder: Path

    @property
    def path_secret(self) -> str:
        return hmac.new(self.secret, b"token path", hashlib.sha256).hexdigest()

    @property
    def control_secret(self) -> str:
        """In the address of the control plane: another secret than the one that programs are given."""
        return hmac.new(self.secret, b"control plane", hashlib.sha256).hexdigest()

    @property
    def page_secret(self) -> str:
        """In the address of the page, which people copy: it opens nothing else."""
        return hmac.new(self.secret, b"page", hashlib.sha256).hexdigest()[:32]

    def is_path_secret(self, text: str) -> bool:
        return hmac.compare_digest(text.encode(), self.path_secret.encode())

    def token(self, claims: dict[str, Any], seconds: int = TOKEN_SECONDS) -> str:
        """A signed JWT. The SDK reads `exp` and `tid` and does not verify; the emulator does."""
        issued = int(time.time())
        payload = {"iss": "https://sts.windows.net/", "iat": issued, "nbf": issued, "exp": issued + seconds, **claims}
        signed = ".".join(encode(json.dumps(part).encode()) for part in ({"typ": "JWT", "alg": "HS256"}, payload))
        return f"{signed}.{encode(self.sign(signed))}"

    def claims(self, token: str) -> dict[str, Any] | None:
        """What a token of ours says; None if it is not ours or has expired."""
        signed, _, signature = token.rpartition(".")
        if not hmac.compare_digest(encode(self.sign(signed)).encode(), signature.encode()):
            return None
        claims: dict[str, Any] = json.loads(decode(signed.partition(".")[2]))
        return claims if claims["exp"] > time.time() else None

    def address_query(self, path: str, permissions: str = "r", seconds: int = ADDRESS_SECONDS) -> str:
        """The query that lets its holder use `path` (`/container` or `/container/blob`), in the form of a SAS."""
        expiry = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))
        kind = "b" if path.count("/") > 1 else "c"
        signature = encode(self.sign(f"{permissions}\n{expiry}\n{path}"))
        return f"sv=2019-07-07&sr={kind}&sp={permissions}&se={expiry}&sig={signature}"

    def allows(self, path: str, query: dict[str, str], permission: str) -> bool:
        """Whether this query is the signature of `path`, or of its container, for `permission` (r, w), in time."""
        permissions, expiry = query.get("sp", ""), query.get("se", "")
        container = "/" + path.lstrip("/").partition("/")[0]
        scope = container if query.get("sr") == "c" else path
        expected = encode(self.sign(f"{permissions}\n{expiry}\n{scope}"))
        if not hmac.compare_digest(expected.encode(), query.get("sig", "").encode()):
            return False
        return permission in permissions and expiry > time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())

    def sign(self, text: str) -> bytes:
        return hmac.new(self.secret, text.encode(), hashlib.sha256).digest()


def load_identity(folder: Path) -> Identity:
    """The secret of this store, made on first use; made anew if a crash has cut it: anybody could guess a short one."""
    path = folder / "secret"
    if not path.exists() or path.stat().st_size < 2 * SECRET_BYTES:
        write_private(path, secrets.token_hex(SECRET_BYTES).encode())
    return Identity(path.read_bytes(), folder)


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def decode(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def write_private(path: Path, data: bytes) -> None:
    """Readable by its owner only, from the first moment."""
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(data)
    temporary.replace(path)


def certificates(folder: Path) -> Path:
    """`server.pem` (certificate and key for 127.0.0.1), signed by the store's own authority; all made on first use.

    Beside it: `ca.pem`, to be trusted by clients of this emulator only, and `bundle.pem`, the same with everything
    that Python trusts anyway. The authority's key never goes into any trust store.
    """
    server = folder / "server.pem"
    if not server.exists():
        make_certificates(folder)
    return server


def make_certificates(folder: Path) -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    def pem(key: Any) -> bytes:
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        return bytes(key.private_bytes(*form))

    ca_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca_name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "amlrun emulator")])
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    ca = (
        described(ca_name, ca_name, ca_key.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    names = [x509.IPAddress(ipaddress.ip_address("127.0.0.1")), x509.DNSName("localhost")]
    leaf = (
        described(name, ca_name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    ca_text = ca.public_bytes(serialization.Encoding.PEM)
    write_private(folder / "ca.key", pem(ca_key))
    (folder / "ca.pem").write_bytes(ca_text)
    (folder / "bundle.pem").write_bytes(trusted_anyway() + ca_text)
    write_private(folder / "server.pem", leaf.public_bytes(serialization.Encoding.PEM) + pem(key))


def described(subject: Any, issuer: Any, public_key: Any) -> Any:
    from cryptography import x509

    today = datetime.datetime.now(datetime.timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(today - datetime.timedelta(days=1))
        .not_valid_after(today + datetime.timedelta(days=CA_DAYS))
    )


def key_usage(*, signs: bool) -> Any:
    from cryptography import x509

    others = ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement")
    usage = {**dict.fromkeys((*others, "encipher_only", "decipher_only"), False), "digital_signature": signs}
    return x509.KeyUsage(**usage, key_cert_sign=signs, crl_sign=signs)


def trusted_anyway() -> bytes:
    """What this machine trusts: certifi's list (what `requests` uses) and the system's, each certificate once."""
    import ssl

    files = [ssl.get_default_verify_paths().cafile]
    with contextlib.suppress(ImportError):
        import certifi

        files.append(certifi.where())
    found = (PEM.findall(Path(file).read_bytes()) for file in files if file)
    return b"".join(dict.fromkeys(certificate + b"\n" for listed in found for certificate in listed))
