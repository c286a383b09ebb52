#!/usr/bin/env python3
"""An HTTP/1.1 proxy that fails on demand, for tests of an S3 client.

fault_proxy.py --listen PORT --backend PORT --control PORT      (all on 127.0.0.1)

Requests pass unchanged, Host included, so signatures still verify. What fails is said by rules, set over the control
port: PUT /rules with a JSON list; GET /stats gives {"requests": n, "connections": n since the start, "acted": {"0": n, ...}}.
A rule: {"action": ..., "method": "PUT|GET", "path": regex on path and query, "skip": n matches to leave alone,
"count": n matches to act on (default all)} and what its action takes:

  status            {"code": 503, "s3code": "SlowDown", "retry_after": 1}  answered without asking the backend
  error200          200 with an <Error> document                           {"s3code": "InternalError"}
  html404           a 404 that no S3 server would send
  reset             RST when the head of the request is read
  reset_upload      {"bytes": n} RST after n bytes of the request's body
  stall_upload      {"bytes": n, "seconds": t} stops reading the body: a half-open connection
  lost_response     the backend takes the request and answers, the client gets RST
  lost_fin          the same, with an orderly close
  stall_response    {"seconds": t} before the backend's answer is passed on
  reset_download, truncate_download {"bytes": n} RST or close after n bytes of the answer's body
  stall_download    {"bytes": n, "seconds": t}
  corrupt_download, corrupt_upload  {"bytes": n} flips a bit of byte n
  throttle          {"rate": bytes a second, both directions}
"""
import argparse
import asyncio
import json
import re
import socket
import struct

PIECE = 65536


class Abort(Exception):
    """Ends the connection to the client."""


def reset(writer):
    sock = writer.get_extra_info("socket")
    if sock is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class Rules:
    def __init__(self):
        self.connections = 0
        self.set([])

    def set(self, rules):
        self.rules = rules
        self.matched = [0] * len(rules)
        self.acted = [0] * len(rules)
        self.requests = 0

    def pick(self, method, target):
        self.requests += 1
        for i, rule in enumerate(self.rules):
            if method not in rule.get("method", method).split("|") or not re.search(rule.get("path", ""), target):
                continue
            self.matched[i] += 1
            if self.matched[i] <= rule.get("skip", 0) or self.acted[i] >= rule.get("count", 1 << 30):
                continue
            self.acted[i] += 1
            return rule
        return {}

    def stats(self):
        return {"requests": self.requests, "connections": self.connections, "acted": {str(i): n for i, n in enumerate(self.acted)}}


async def read_head(reader):
    lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin1").split("\r\n")[:-2]
    return lines[0], [tuple(line.split(":", 1)) for line in lines[1:]]


def find(headers, name):
    return next((value.strip().lower() for key, value in headers if key.strip().lower() == name), None)


def encode_head(line, headers):
    return (line + "\r\n" + "".join(f"{k}:{v}\r\n" for k, v in headers) + "\r\n").encode("latin1")


async def copy_piece(writer, data, offset, hook):
    data = await hook(offset, data)
    if writer is not None and data:
        writer.write(data)
        await writer.drain()


async def copy_exactly(reader, writer, length, offset, hook):
    while length:
        data = await reader.read(min(PIECE, length))
        if not data:
            raise Abort
        await copy_piece(writer, data, offset, hook)
        offset += len(data)
        length -= len(data)
    return offset


async def copy_chunked(reader, writer, hook):
    offset = 0
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        if writer is not None:
            writer.write(line)
        offset = await copy_exactly(reader, writer, size, offset, hook)
        end = await reader.readuntil(b"\r\n")
        if writer is not None:
            writer.write(end)
        if size == 0:
            return


async def copy_body(reader, writer, headers, hook):
    """hook(offset, data) gives the data to pass on; it may raise Abort."""
    if "chunked" in (find(headers, "transfer-encoding") or ""):
        await copy_chunked(reader, writer, hook)
    else:
        await copy_exactly(reader, writer, int(find(headers, "content-length") or 0), 0, hook)


def flip(data, position):
    changed = bytearray(data)
    changed[position] ^= 1
    return bytes(changed)


class Exchange:
    """One connection of a client."""

    def __init__(self, args, rules, reader, writer):
        self.args, self.rules, self.reader, self.writer = args, rules, reader, writer
        self.backend = None
        self.rule = {}

    def acts(self, *actions):
        return self.rule.get("action") in actions

    async def upload_hook(self, offset, data):
        at, end = self.rule.get("bytes", 0), offset + len(data)
        if self.acts("reset_upload") and end >= at:
            reset(self.writer)
            raise Abort
        if self.acts("stall_upload") and offset <= at < end:
            await asyncio.sleep(self.rule["seconds"])
        if self.acts("corrupt_upload") and offset <= at < end:
            return flip(data, at - offset)
        if self.acts("throttle"):
            await asyncio.sleep(len(data) / self.rule["rate"])
        return data

    async def download_hook(self, offset, data):
        at, end = self.rule.get("bytes", 0), offset + len(data)
        if self.acts("reset_download", "truncate_download") and end >= at:
            self.writer.write(data[: max(0, at - offset)])
            await self.writer.drain()
            await asyncio.sleep(0.02)
            if self.acts("reset_download"):
                reset(self.writer)
            raise Abort
        if self.acts("stall_download") and offset <= at < end:
            await asyncio.sleep(self.rule["seconds"])
        if self.acts("corrupt_download") and offset <= at < end:
            return flip(data, at - offset)
        if self.acts("throttle"):
            await asyncio.sleep(len(data) / self.rule["rate"])
        return data

    async def answer(self, method, headers):
        """Without the backend, after the request's body has been read."""
        await copy_body(self.reader, None, headers, self.upload_hook)
        code = {"error200": 200, "html404": 404}.get(self.rule["action"], self.rule.get("code", 503))
        s3code = self.rule.get("s3code", "InternalError" if code == 200 else "SlowDown")
        body = f"<?xml version=\"1.0\"?><Error><Code>{s3code}</Code><Message>injected</Message></Error>".encode()
        if self.acts("html404"):
            body = b"<html><body>not found"
        head = f"HTTP/1.1 {code} Injected\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
        if "retry_after" in self.rule:
            head += f"Retry-After: {self.rule['retry_after']}\r\n"
        self.writer.write(head.encode() + b"\r\n" + (b"" if method == "HEAD" else body))
        await self.writer.drain()

    async def forward(self, method, line, headers):
        if self.backend is None:
            self.backend = await asyncio.open_connection("127.0.0.1", self.args.backend, limit=1 << 20)
        reader, writer = self.backend
        writer.write(encode_head(line, headers))
        # The backend may answer before it has read the body.
        upload = asyncio.ensure_future(copy_body(self.reader, writer, headers, self.upload_hook))
        answer = asyncio.ensure_future(read_head(reader))
        await asyncio.wait({upload, answer}, return_when=asyncio.FIRST_COMPLETED)
        if upload.done() and upload.exception():
            answer.cancel()
            raise upload.exception()
        status_line, answer_headers = await answer
        if method == "HEAD" or status_line.split()[1] in ("204", "304"):
            body_headers = []
        else:
            body_headers = answer_headers
        await self.pass_back(status_line, answer_headers, body_headers)
        if not upload.done():
            upload.cancel()
            raise Abort

    async def pass_back(self, status_line, headers, body_headers):
        reader, _ = self.backend
        if self.acts("lost_response", "lost_fin"):
            async def drop(_, data):
                return data
            await copy_body(reader, None, body_headers, drop)
            if self.acts("lost_response"):
                reset(self.writer)
            raise Abort
        if self.acts("stall_response"):
            await asyncio.sleep(self.rule["seconds"])
        self.writer.write(encode_head(status_line, headers))
        await copy_body(reader, self.writer, body_headers, self.download_hook)
        await self.writer.drain()
        if find(headers, "connection") == "close":
            raise Abort

    async def run(self):
        try:
            while True:
                line, headers = await read_head(self.reader)
                method, target, _ = line.split(" ", 2)
                self.rule = self.rules.pick(method, target)
                if self.acts("reset"):
                    reset(self.writer)
                    return
                if self.acts("status", "error200", "html404"):
                    await self.answer(method, headers)
                else:
                    await self.forward(method, line, headers)
        except (Abort, OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            for writer in (self.writer, self.backend[1] if self.backend else None):
                if writer is not None:
                    writer.close()


async def control(reader, writer, rules):
    try:
        line, headers = await read_head(reader)
        body = await reader.readexactly(int(find(headers, "content-length") or 0))
        if line.startswith("PUT /rules"):
            rules.set(json.loads(body))
        out = json.dumps(rules.stats()).encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(out) + out)
        await writer.drain()
    except (OSError, asyncio.IncompleteReadError, ValueError):
        pass
    finally:
        writer.close()


async def main():
    parser = argparse.ArgumentParser()
    for name in ("--listen", "--backend", "--control"):
        parser.add_argument(name, type=int, required=True)
    args = parser.parse_args()
    rules = Rules()

    async def serve(reader, writer):
        rules.connections += 1
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await Exchange(args, rules, reader, writer).run()

    server = await asyncio.start_server(serve, "127.0.0.1", args.listen, limit=1 << 20)
    controller = await asyncio.start_server(lambda r, w: control(r, w, rules), "127.0.0.1", args.control)
    async with server, controller:
        await asyncio.gather(server.serve_forever(), controller.serve_forever())


if __name__ == "__main__":
    asyncio.run(main())
