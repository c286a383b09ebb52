#!/usr/bin/env python3
"""Reads a repository of dbops, written from docs/format.md alone.

reader.py [--keys FILE] ROOT SYSTEM_IDENTIFIER WAL_FILE > content

Exit status 1: the repository says that there is no such file. 2: anything else.
"""
import argparse
import hashlib
import hmac
import json
import pathlib
import re
import struct
import sys

import zstandard
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

FIXED = struct.Struct("<8sHHBBBBQ32sQQI")
KINDS = {"segment": 1, "partial": 2, "history": 3, "backup": 4, "chunk": 5}


class Damaged(Exception):
    pass


class Missing(Exception):
    pass


def check(condition, what):
    if not condition:
        raise Damaged(what)


def derive(master, purpose):
    return hmac.new(master, purpose.encode(), hashlib.sha256).digest()


def read_keys(path):
    keys = {}
    for line in pathlib.Path(path).read_text().splitlines():
        if line.strip() and not line.strip().startswith("#"):
            name, value = (part.strip() for part in line.split("=", 1))
            if name != "current":
                keys[name] = bytes.fromhex(value)
    return keys


class Header:
    def __init__(self, data):
        check(len(data) >= FIXED.size, "shorter than a header")
        (magic, version, self.length, self.kind, self.codec, self.cipher, flags, self.plain_length, self.digest,
         self.system_identifier, self.created, self.record_length) = FIXED.unpack_from(data)
        check(magic == b"DBOPSOBJ", "magic")
        check(version == 1 and flags == 0, "a newer format")
        check(FIXED.size + 14 <= self.length <= min(4096, len(data)), "length of the header")
        fields, checksum = data[: self.length - 8], data[self.length - 8 : self.length]
        check(hashlib.sha256(fields).digest()[:8] == checksum, "checksum of the header")
        self.position = FIXED.size
        self.fields = fields
        self.name, self.origin, self.key_id = self.text(), self.text(), self.text()
        self.authenticated = fields[: self.position]
        if self.cipher:
            self.nonce, self.wrapped = self.take(12), self.take(48)
        check(self.position == len(fields), "fields of the header")

    def take(self, length):
        check(self.position + length <= len(self.fields), "a field reaches beyond the header")
        self.position += length
        return self.fields[self.position - length : self.position]

    def text(self):
        return self.take(struct.unpack("<H", self.take(2))[0]).decode("utf-8", "replace")


def decrypt(header, payload, master):
    try:
        wrap = AESGCM(derive(master, "dbops key wrap 1"))
        cipher = AESGCM(wrap.decrypt(header.nonce, header.wrapped, header.authenticated))
        size, plain = header.record_length + 16, []
        count = max(1, -(-len(payload) // size))
        for i in range(count):
            nonce = bytes(3) + struct.pack(">QB", i, int(i == count - 1))
            plain.append(cipher.decrypt(nonce, payload[i * size : (i + 1) * size], None))
        return b"".join(plain)
    except InvalidTag as error:
        raise Damaged("wrong key, or damaged") from error


def decode(data, keys):
    header = Header(data)
    payload = data[header.length :]
    check(header.codec in (0, 1) and header.cipher in (0, 1), "unknown codec or cipher")
    if header.cipher:
        if header.key_id not in keys:
            raise Damaged(f"no key {header.key_id}")
        payload = decrypt(header, payload, keys[header.key_id])
    if header.codec == 1:
        decompressor = zstandard.ZstdDecompressor(max_window_size=1 << 27).decompressobj()
        payload = decompressor.decompress(payload)
        check(not decompressor.unused_data, "data behind the frame")
    check(len(payload) == header.plain_length, "length of the plaintext")
    if header.cipher:
        digest = hmac.new(derive(keys[header.key_id], "dbops content digest 1"), payload, hashlib.sha256).digest()
    else:
        digest = hashlib.sha256(payload).digest()
    check(digest == header.digest, "digest")
    return header, payload


class Repository:
    def __init__(self, root, system_identifier, keys):
        self.base = pathlib.Path(root) / system_identifier
        self.system_identifier, self.keys = system_identifier, keys
        marker = json.loads((self.base / "repository.json").read_text())
        check(marker["dbops_repository"] == 1 and marker["system_identifier"] == system_identifier, "repository.json")

    def read(self, name, kind):
        header, content = decode((self.base / name).read_bytes(), self.keys)
        check(header.name == name and header.kind == KINDS[kind], "the object belongs elsewhere")
        check(str(header.system_identifier) == self.system_identifier, "the object is of another cluster")
        return content

    def fetch(self, wal_file):
        timeline, log, segment = wal_file[:8], wal_file[8:16], wal_file[:24]
        directory = f"wal/{timeline}/{log}"
        if re.fullmatch("[0-9A-F]{8}[.]history", wal_file):
            name, kind = f"wal/{wal_file}", "history"
        elif re.fullmatch("[0-9A-F]{24}[.]partial", wal_file):
            name, kind = f"{directory}/{wal_file}", "partial"
        elif re.fullmatch("[0-9A-F]{24}[.][0-9A-F]{8}[.]backup", wal_file):
            name, kind = f"{directory}/{wal_file}", "backup"
        else:
            name, kind = f"{directory}/{segment}.zst", "segment"
        if (self.base / name).exists():
            return self.read(name, kind)
        if kind == "segment":
            return self.fetch_pieces(directory, segment)
        raise Missing

    def later_wal(self, timeline, segment):
        for path in (self.base / "wal" / timeline).rglob("*"):
            match = re.match("[0-9A-F]{24}", path.name if path.is_file() else "") or re.match("[0-9A-F]{24}", path.parent.name)
            if path.is_file() and match and match.group() > segment:
                return True
        return False

    def fetch_pieces(self, directory, segment):
        pieces = {}
        for path in (self.base / directory / segment).glob("*-*.zst"):
            start, end = (int(part, 16) for part in path.stem.split("-"))
            pieces[start, end] = f"{directory}/{segment}/{path.name}"
        content = b""
        while True:
            covered = len(content)
            usable = [piece for piece in pieces if piece[0] <= covered < piece[1]]
            if not usable:
                break
            best = max(usable, key=lambda piece: piece[1])
            content += self.read(pieces[best], "chunk")[covered - best[0] :]
        if not content:
            if pieces or self.later_wal(segment[:8], segment):
                raise Damaged("WAL is missing here")
            raise Missing
        size = struct.unpack_from("=I", content, 32)[0]
        check(len(content) >= size or not self.later_wal(segment[:8], segment), "WAL is missing here")
        return content[:size].ljust(size, b"\0")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys")
    parser.add_argument("root")
    parser.add_argument("system_identifier")
    parser.add_argument("wal_file")
    args = parser.parse_args()
    keys = read_keys(args.keys) if args.keys else {}
    try:
        sys.stdout.buffer.write(Repository(args.root, args.system_identifier, keys).fetch(args.wal_file))
    except Missing:
        return 1
    except (Damaged, OSError, KeyError, zstandard.ZstdError) as error:
        print(f"reader.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
