"""Certificates of an authority of our own, for servers on 127.0.0.1."""

from __future__ import annotations

import ipaddress
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


class Authority:
    """Its own certificate lies in `file`."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "ca.crt"
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("an authority of the tests")
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        made = self._signed(self._name, self._key, x509.BasicConstraints(ca=True, path_length=0), usage)
        self.file.write_bytes(made.public_bytes(serialization.Encoding.PEM))

    def issue(self, folder: Path, host: str | None = None) -> int:
        """Writes tls.crt and tls.key for `host`, or for 127.0.0.1, and returns the serial number."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.DNSName(host) if host else x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        made = self._signed(
            _named("a server"),
            key,
            x509.BasicConstraints(ca=False, path_length=None),
            x509.SubjectAlternativeName([name]),
        )
        folder.mkdir(exist_ok=True)
        (folder / "tls.crt").write_bytes(made.public_bytes(serialization.Encoding.PEM))
        (folder / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return made.serial_number

    def trusted(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.file)

    def _signed(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey, *extensions: x509.ExtensionType
    ) -> x509.Certificate:
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        for extension in extensions:
            made = made.add_extension(extension, critical=not isinstance(extension, x509.SubjectAlternativeName))
        return made.sign(self._key, hashes.SHA256())


def _named(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])
