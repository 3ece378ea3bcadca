"""An API server's watch, pre-rendered: one HTTP chunk an event, as a real one flushes. Runs as its own process.

`python -m bench.replay FILE [--tls DIR]` prints its port, serves FILE (lines) to every GET, then waits. It writes with
blocking sends from a thread a connection, so that it is never the slower side.
"""

import argparse
import datetime as dt
import ipaddress
import socket
import ssl
import sys
import threading
from pathlib import Path

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"


def rendered(lines: list[bytes]) -> list[bytes]:
    """Chunked bodies in blocks of about 256 KiB; the chunk borders stay one an event."""
    blocks, block, size = [], [], 0
    for line in lines:
        chunk = b"%x\r\n%s\r\n" % (len(line), line)
        block.append(chunk)
        size += len(chunk)
        if size > 1 << 18:
            blocks.append(b"".join(block))
            block, size = [], 0
    blocks.append(b"".join(block))
    return blocks


def serve(connection: socket.socket, blocks: list[bytes]) -> None:
    try:
        request = b""
        while b"\r\n\r\n" not in request:
            data = connection.recv(65536)
            if not data:
                return
            request += data
        connection.sendall(HEAD)
        for block in blocks:
            connection.sendall(block)
        connection.sendall(b"0\r\n\r\n")
        connection.recv(1)
    except OSError:
        pass
    finally:
        connection.close()


def certificate(directory: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, made once a directory: (certificate, key) as PEM files."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    cert_file, key_file = directory / "tls.crt", directory / "tls.key"
    if cert_file.exists():
        return cert_file, key_file
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bench")])
    now = dt.datetime.now(dt.UTC)
    cert = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file.write_bytes(cert.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return cert_file, key_file


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--tls", type=Path)
    options = parser.parse_args()
    blocks = rendered(options.file.read_bytes().splitlines(keepends=True))
    context = None
    if options.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate(options.tls))
    listener = socket.create_server(("127.0.0.1", 0))
    sys.stdout.write(f"{listener.getsockname()[1]}\n")
    sys.stdout.flush()
    while True:
        connection, _ = listener.accept()
        if context is not None:
            try:
                connection = context.wrap_socket(connection, server_side=True)
            except OSError:
                continue
        threading.Thread(target=serve, args=(connection, blocks), daemon=True).start()


if __name__ == "__main__":
    main()
