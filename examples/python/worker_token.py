"""Prints the token of a worker, for development: signed with the key that the mesh shares.

    python worker_token.py --key-file DATA/mesh.key        (`runmesh dev` prints its data folder)

The token names what the worker may serve; without --agent it may serve every agent. In production whoever holds the mesh's
key makes such tokens and hands each worker its own.
"""

import argparse
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path


def part(raw: bytes) -> bytes:
    return base64.urlsafe_b64encode(raw).rstrip(b"=")


def token(key: bytes, name: str, agents: list[str], seconds: int) -> str:
    """A JWT (RFC 7519) of type worker+jwt, HS256."""
    now = int(time.time())
    claims = {"id": name, "agents": agents or None}
    header = {"typ": "worker+jwt", "alg": "HS256"}
    body = {"aud": "runmesh", "iat": now, "exp": now + seconds, "claims": claims}
    signed = b".".join(part(json.dumps(piece).encode()) for piece in (header, body))
    return b".".join([signed, part(hmac.new(key, signed, hashlib.sha256).digest())]).decode()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--key-file", type=Path, required=True, help="the mesh's key, hexadecimal")
    parser.add_argument("--name", default="example", help="names the credential; sessions are bound to it")
    parser.add_argument("--agent", action="append", default=[], help="an agent id that the worker may serve; repeatable")
    parser.add_argument("--ttl", type=int, default=24 * 3600, help="seconds")
    options = parser.parse_args()
    key = bytes.fromhex(options.key_file.read_text().strip())
    print(token(key, options.name, options.agent, options.ttl))


if __name__ == "__main__":
    main()
