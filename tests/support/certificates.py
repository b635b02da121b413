"""A small authority, and certificates of it, made by openssl as the guide says."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Certificates:
    """Files in PEM."""

    ca: Path
    cert: Path
    key: Path


def openssl(*argv: str) -> None:
    done = subprocess.run(["openssl", *argv], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr


def make_certificates(
    folder: Path, *, names: str = "IP:127.0.0.1,DNS:localhost", days: int = 2
) -> Certificates:
    """days may be negative: over already."""
    folder.mkdir(parents=True, exist_ok=True)
    ca, ca_key = folder / "ca.pem", folder / "ca.key"
    cert, key, request = folder / "cert.pem", folder / "cert.key", folder / "cert.csr"
    curve = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *curve, "-days", "30", "-subj", "/CN=lab authority",
            "-keyout", str(ca_key), "-out", str(ca))  # fmt: skip
    openssl("req", *curve, "-subj", "/CN=hakuriver", "-keyout", str(key), "-out", str(request))
    extensions = folder / "extensions"
    extensions.write_text(f"subjectAltName={names}\n")
    openssl("x509", "-req", "-in", str(request), "-CA", str(ca), "-CAkey", str(ca_key),
            "-CAcreateserial", "-days", str(days), "-extfile", str(extensions),
            "-out", str(cert))  # fmt: skip
    return Certificates(ca, cert, key)
