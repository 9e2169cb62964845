"""A thousand invalid requests, and the allowed answers to each."""

import asyncio
import contextlib
import dataclasses
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

HOST = "127.0.0.1"
_PATIENCE_S = 60
_DRIP_S = 0.25


@dataclasses.dataclass(frozen=True)
class Bad:
    """An invalid request.

    Attributes:
        data: its bytes.
        statuses: allowed answers; 0 is a closed connection without an answer.
        is_slow: the second half of the bytes is sent one by one.
        is_cut: the client disconnects after the bytes.
    """

    data: bytes
    statuses: tuple
    is_slow: bool = False
    is_cut: bool = False


def png(*, size=(30, 30)):
    file = io.BytesIO()
    Image.new("L", size).save(file, "PNG")
    return file.getvalue()


def promised(width, height):
    """A PNG with more pixels in its header than in its data."""

    def chunk(kind, content):
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", pixels), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def request(method="POST", path="/drawing", *, body=b"", host=HOST, **headers):
    """The bytes of a request; None leaves a header out."""
    given = {"Host": host, "Content-Type": "image/png", "Content-Length": len(body)}
    given |= {name.replace("_", "-"): value for name, value in headers.items()}
    lines = [f"{name}: {value}" for name, value in given.items() if value is not None]
    return "\r\n".join([f"{method} {path} HTTP/1.1", *lines, "", ""]).encode() + body


def _paths():
    climbs = ("/../server.py", "/../../../etc/passwd", "/page.js/../../serve.py", "//etc/passwd")
    coded = ("/%2e%2e/serve.py", "/..%2f..%2fmain.py", "/%252e%252e/x", "/..\\serve.py", "/%00")
    others = ("/server.py", "/reading.py", "/page/", "/drawing/", "/favicon.ico", "/é", "/a?b=/etc")
    return [path.encode().decode("latin-1") for path in (*climbs, *coded, *others)]


def _once(random):
    """One bad request of each kind."""
    good, noise = png(), random.bytes(2000)
    for path in _paths():
        yield Bad(request("GET", path), (400, 404))
    for path in ("/", "/page.js", "/drawing", "/photo"):
        for method in ("DELETE", "PUT", "TRACE", "OPTIONS", "BREW"):
            yield Bad(request(method, path), (400,) if method == "BREW" else (405,))
    yield Bad(request("GET", "/drawing"), (405,))
    yield Bad(request("POST", "/", body=good), (405,))
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost@evil.example",
        "",
        "[",
        "::1",
    ):
        yield Bad(request(host=host, body=good), (400, 421))
    yield Bad(request(host=None, body=good), (400, 421))
    for origin in ("http://evil.example", "null", "https://127.0.0.1", "http://127.0.0.1:1"):
        yield Bad(request(body=good, Origin=origin), (403,))
    for kind in ("text/plain", "application/json", "image/svg+xml", "multipart/form-data", ";", ""):
        yield Bad(request(body=good, Content_Type=kind), (415,))
    yield Bad(request(body=zlib.compress(bytes(100_000)), Content_Encoding="deflate"), (415,))
    yield Bad(request(body=bytes(200_001)), (413,))
    yield Bad(request(path="/photo", body=bytes(20_000_001)), (413, 0))
    for length in (10**9, 10**15, 10**30):
        yield Bad(request(Content_Length=length), (400, 413), is_cut=True)
    for length in ("-1", "seven", "1e3", "0x10", "5, 6", "٣"):
        length = length.encode().decode("latin-1")
        yield Bad(request(body=good, Content_Length=length), (400,))
    yield Bad(request(body=good, Content_Length=None), (400, 411))
    yield Bad(request(body=good, Content_Length=len(good) - 9), (400,))
    yield Bad(request(body=good, Transfer_Encoding="chunked"), (400,))
    yield Bad(request(Transfer_Encoding="chunked", Content_Length=None, body=noise), (400, 411))
    for share in (0.3, 0.6, 0.9):
        whole = request(body=noise)
        yield Bad(whole[: int(share * len(whole))], (0, 408), is_cut=True)
    for path in ("/drawing", "/photo"):
        for body in (b"", b"7", noise, b"<svg/>", b"%!PS-Adobe", b"PK\3\4" + noise, good[:-30]):
            yield Bad(request(path=path, body=body), (422,))
        for body in (b"\0\0\0\x18ftypheic" + noise, b"\x80\4cos\nsystem\n", promised(60_001, 1000)):
            yield Bad(request(path=path, body=body), (422,))
        yield Bad(request(path=path, body=promised(50_000, 50_000)), (422,))
    yield Bad(request(body=png(size=(1001, 1001))), (422,))
    for junk in (noise, b"\x16\x03\x01\2\0\1\0\1\xfc\3\3", b"GET\r\n\r\n", b"\r\n\r\n\0" * 9):
        yield Bad(junk + b"\r\n\r\n", (400, 0), is_cut=True)
    yield Bad(request("GET", "/" + "a" * 100_000), (400, 0))
    yield Bad(request("GET", "/", **{f"X{i}": "a" * 1000 for i in range(200)}), (400, 0))


def _slow(random):
    for path in ("/drawing", "/photo"):
        whole = request(path=path, body=random.bytes(2000))
        yield Bad(whole, (408, 503), is_slow=True)
        yield Bad(whole[:80], (0, 408), is_slow=True)


def thousand(*, slow=40, seed=0):
    """A thousand requests of all kinds in random order; ``slow`` of them are slow."""
    random = np.random.default_rng(seed)
    bad = []
    while len(bad) < 1000 - slow:
        bad += _once(random)
    bad = [bad[i] for i in random.permutation(len(bad))[: 1000 - slow]]
    dripping = []
    while len(dripping) < slow:
        dripping += _slow(random)
    return dripping[:slow] + bad


async def answer(port, bad):
    """The server's answer to a request until it or the client closes the connection."""
    reader, writer = await asyncio.open_connection(HOST, port)
    told = bytearray()
    listening = asyncio.ensure_future(_listen(reader, told))
    with contextlib.suppress(ConnectionError):
        sent = bad.data
        if not bad.is_slow and not bad.is_cut:
            sent = sent.replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
        start = len(sent) // 2 if bad.is_slow else len(sent)
        writer.write(sent[:start])
        await writer.drain()
        while bad.is_slow and start < len(sent) and not listening.done():
            writer.write(sent[start : start + 1])
            start += 1
            await asyncio.wait([listening], timeout=_DRIP_S)
    await asyncio.wait([listening], timeout=_DRIP_S if bad.is_cut else _PATIENCE_S)
    is_over = not listening.cancel() or bad.is_cut
    writer.close()
    assert is_over, f"nothing ends this connection: {bad}"
    return bytes(told)


async def _listen(reader, told):
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(2**16):
            told += data


async def answers(port, requests, *, at_once):
    """The answers to all requests; slow ones run beside a number of others at a time."""
    places = asyncio.Semaphore(at_once)

    async def one(bad):
        if bad.is_slow:
            return await answer(port, bad)
        async with places:
            return await answer(port, bad)

    return await asyncio.gather(*map(one, requests))


def status_of(data):
    """The status of an answer; 0 without an answer."""
    return int(data.split(b" ", 2)[1]) if data.startswith(b"HTTP/1.") else 0


def secrets(*paths):
    """Texts that would reveal facts about this machine."""
    homes = (os.path.expanduser("~"), os.getcwd(), *map(str, paths))
    names = [home.encode() for home in homes if len(home) > 3]
    return [*names, b"Traceback", b"site-packages", b".py", b"/tmp/", b"BytesIO", b"aiohttp"]
