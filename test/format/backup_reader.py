#!/usr/bin/env python3
"""Restores the files of a backup, written from docs/format.md alone; beside reader.py, which reads WAL.

backup_reader.py [--keys FILE] [--dump] ROOT SYSTEM_IDENTIFIER LABEL DIRECTORY

With --dump, the files of a dump. Symbolic links are not followed: what is in a tablespace is written below DIRECTORY/pg_tblspc/<oid>.
"""
import argparse
import hashlib
import json
import pathlib
import struct
import sys

import reader
import zstandard
from reader import check

BLOCK, REGION = 8192, 32 << 20
ZERO = 0xFFFFFFFF
PIECE = 16 << 20
reader.KINDS.update(pack=6, files=7, packs=8, head=9, event=10, piece=11, dump=12, summary=13)


class Fields:
    def __init__(self, data):
        self.data, self.position = data, 0

    def take(self, length):
        check(self.position + length <= len(self.data), "a field reaches beyond the end")
        self.position += length
        return self.data[self.position - length : self.position]

    def number(self, code):
        return struct.unpack("<" + code, self.take(struct.calcsize("<" + code)))[0]

    def blob(self):
        return (self.take(16),) + tuple(self.number("I") for _ in range(4))

    def end(self):
        return self.position == len(self.data)


class Backups(reader.Repository):
    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.packs = {}

    def frame(self, pack, offset, length):
        if pack not in self.packs:
            name = f"pack/{pack.hex()[:2]}/{pack.hex()}"
            self.packs[pack] = self.read(name, "pack")
        frame = self.packs[pack][offset : offset + length]
        check(len(frame) == length and length > 0, "a frame is beyond the end of its pack")
        content = frame[1:]
        if frame[0] == 1:
            content = zstandard.ZstdDecompressor().decompress(content, max_output_size=1 << 20)
        check(frame[0] in (0, 1) and len(content) <= 1 << 20, "a frame")
        return content

    def blob(self, ref):
        pack, offset, length, start, size = ref
        content = self.frame(pack, offset, length)[start : start + size]
        check(len(content) == size, "a blob is beyond the end of its frame")
        return content

    def blocks_of_map(self, ref, whole_only=False):
        """[(frame or None, offset in its plaintext, hash)] of the region's blocks."""
        fields = Fields(self.blob(ref))
        form, count = fields.number("B"), fields.number("I")
        blocks, order = [None] * count, range(count)
        check(form in ((1,) if whole_only else (1, 2)), "form of a map")
        if form == 2:
            base = self.blocks_of_map(fields.blob(), whole_only=True)
            blocks[: min(count, len(base))] = base[:count]
            order = []
            for _ in range(fields.number("I")):
                first, length = fields.number("H"), fields.number("H")
                order += range(first, first + length)
        packs = [fields.take(16) for _ in range(fields.number("I"))]
        frames = []
        for _ in range(fields.number("I")):
            pack = packs[fields.number("H")]
            frames.append((pack, fields.number("I"), fields.number("I")))
        places = []
        for _ in range(fields.number("I")):
            frame, offset, length = fields.number("I"), fields.number("I"), fields.number("H")
            places += [(None if frame == ZERO else frames[frame], offset + i * BLOCK) for i in range(length)]
        check(len(places) == len(order), "number of blocks of a map")
        for i, (frame, offset) in zip(order, places):
            blocks[i] = (frame, offset, fields.take(16) if frame else None)
        check(fields.end() and None not in blocks, "a map")
        return blocks

    def region(self, ref, size):
        content, plain = b"", {}
        blocks = self.blocks_of_map(ref)
        check(len(blocks) == -(-size // BLOCK), "blocks of a region")
        for frame, offset, wanted in blocks:
            length = min(BLOCK, size - len(content))
            if frame is None:
                content += bytes(length)
                continue
            if frame not in plain:
                plain[frame] = self.frame(*frame)
            block = plain[frame][offset : offset + length]
            check(len(block) == length and hashlib.sha256(block).digest()[:16] == wanted, "a block")
            content += block
        return content

    def restore(self, label, target):
        prefix = f"backup/{label}/"
        head = json.loads(self.read(prefix + "manifest", "head"))
        check(head["dbops_backup"] == 1 and head["label"] == label, "head")
        parts = [self.read(f"{prefix}files/{i:08X}.zst", "files") for i in range(head["file_parts"])]
        packs = [self.read(f"{prefix}packs/{i:08X}.zst", "packs") for i in range(head["pack_parts"])]
        digests = b"".join(hashlib.sha256(part).digest() for part in parts + packs)
        check(hashlib.sha256(digests).hexdigest() == head["content"], "content")
        listed = b"".join(packs)
        for i in range(0, len(listed), 24):
            pack, size = struct.unpack_from("<16sQ", listed, i)
            check((self.base / f"pack/{pack.hex()[:2]}/{pack.hex()}").stat().st_size == size, "size of a pack")
        self.check_summary(label)
        fields, last = Fields(b"".join(parts)), None
        while not fields.end():
            last = self.entry(fields, target, last)
        (target / "backup_label").write_text(head["backup_label"])
        if head["tablespace_map"]:
            (target / "tablespace_map").write_text(head["tablespace_map"])
        (target / "global/pg_control").write_bytes(bytes.fromhex(head["control_file"]))

    def check_summary(self, label):
        fields, found = Fields(self.read(f"summary/{label}", "summary")), set()
        while not fields.end():
            name = fields.take(fields.number("H")).decode()
            content = fields.take(fields.number("I"))
            found.add(name)
            if name.startswith("backup/"):
                head = json.loads(self.read(name, "head"))
                check(json.loads(content) == head | {"control_file": "", "backup_label": "", "tablespace_map": ""}, "a summary")
            else:
                check(json.loads(content) == json.loads(self.read(name, "event")), "a summary")
        check(f"backup/{label}/manifest" in found, "a summary")

    def restore_dump(self, label, target):
        prefix = f"dump/{label}/"
        head = json.loads(self.read(prefix + "manifest", "dump"))
        check(head["dbops_dump"] == 1 and head["label"] == label, "head")
        digests, number = b"", 0
        for file in head["files"]:
            check(file["first_piece"] == number and "/" not in file["name"], "a file")
            size = int(file["size"])
            with (target / file["name"]).open("wb") as out:
                for at in range(0, size, PIECE):
                    piece = self.read(f"{prefix}pieces/{number:08X}.zst", "piece")
                    check(len(piece) == min(PIECE, size - at), "size of a piece")
                    digests += hashlib.sha256(piece).digest()
                    out.write(piece)
                    number += 1
        check(hashlib.sha256(digests).hexdigest() == head["content"], "content")

    def entry(self, fields, target, last):
        kind = fields.number("B")
        path = fields.take(fields.number("H")).decode()
        check(not path.startswith("/") and ".." not in path.split("/"), "a path")
        order = [part.encode() for part in path.split("/")]
        check(last is None or last < order, "order of the paths")
        fields.number("I")  # mode
        place = target / path
        if kind == 1:
            place.mkdir(exist_ok=True)
        elif kind == 3:
            fields.take(fields.number("H"))
            place.mkdir()
        else:
            size = fields.number("Q")
            fields.number("q")
            refs = [fields.blob() for _ in range(-(-size // REGION))]
            fields.take(4 * fields.number("I"))
            with place.open("wb") as out:
                for i, ref in enumerate(refs):
                    out.write(self.region(ref, min(REGION, size - i * REGION)))
        return order


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--keys")
    parser.add_argument("--dump", action="store_true")
    parser.add_argument("root")
    parser.add_argument("system_identifier")
    parser.add_argument("label")
    parser.add_argument("directory", type=pathlib.Path)
    args = parser.parse_args()
    keys = reader.read_keys(args.keys) if args.keys else {}
    try:
        args.directory.mkdir()
        backups = Backups(args.root, args.system_identifier, keys)
        (backups.restore_dump if args.dump else backups.restore)(args.label, args.directory)
    except (reader.Damaged, OSError, KeyError, IndexError, struct.error, zstandard.ZstdError) as error:
        print(f"backup_reader.py: {error!r}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
