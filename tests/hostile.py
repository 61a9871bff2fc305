"""Hostile requests, the same ones for the same seed: bytes for a socket, and when to send them."""

import base64
import io
import json
import random
import struct
import zlib
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

Kind = Literal["good", "body", "protocol", "slow", "gone"]
"""What the server may do: answer rightly; answer with a problem, or rightly where the damage did no
harm; say in plain text that it is no HTTP; say that it was too slow; nothing, as nobody waits."""
FORMATS = ("jpeg", "png", "gif", "bmp", "webp", "tiff", "avif")
PATHS = (
    *("/v1/detect",) * 8,
    "/v1/classify",
    "/v1/embed",
    "/v1/vqa",
    "/v1/match",
    "/v1/search",
    "/v1/chat/completions",
    "/v1/embeddings",
    "/v2/models/starter-yolo-detect/infer",
)
"""Where bodies go: most of them where pictures are decoded and seen."""


class Attack(NamedTuple):
    """One connection: what is sent, piece by piece, with a pause before each."""

    name: str
    kind: Kind
    pieces: list[tuple[float, bytes]]


class Maker:
    """Makes attacks from one random generator, for a key."""

    def __init__(self, seed: int, token: str) -> None:
        self.random = random.Random(seed)
        self.token = token
        self.pictures = [picture(seed, format_) for format_ in FORMATS]

    def attacks(self, number: int) -> Iterator[Attack]:
        """Yield so many attacks; one in twenty is a good request."""
        makers: list[Callable[[], Attack]] = [
            self.truncated_form,
            self.odd_form,
            self.damaged_picture,
            self.bomb,
            self.wrong_types,
            self.odd_json,
            self.odd_text,
            self.odd_address,
            self.large_headers,
            self.odd_key,
            self.odd_path,
            self.no_http,
            self.early_end,
        ]
        for count in range(number):
            if count % 20 == 0:
                yield self.good()
            elif count % 200 == 1:
                yield self.slow()
            else:
                yield self.random.choice(makers)()

    def good(self) -> Attack:
        """A request like any other: the answer has to be right."""
        request = self._post(*form([self.pictures[1]]), path="/v1/detect")
        return Attack("good", "good", [(0.0, request)])

    def truncated_form(self) -> Attack:
        """A form that ends anywhere, its length being what was sent."""
        kind, body = form(self.random.choices(self.pictures, k=self.random.randint(1, 3)))
        return self._body("truncated form", kind, body[: self.random.randrange(len(body))])

    def odd_form(self) -> Attack:
        """A form that is no form, or too much of one."""
        one = self.pictures[1]
        many = [b"x"] * self.random.choice([100, 2000])
        head = b'--b\r\nContent-Disposition: form-data; name="files"'
        choices: list[tuple[str, bytes]] = [
            form(many),
            ("multipart/form-data", form([one])[1]),
            ("multipart/form-data; boundary=", form([one])[1]),
            ("multipart/form-data; boundary=other", form([one])[1]),
            ("multipart/form-data; boundary=" + "b" * 5000, form([one])[1]),
            ("multipart/mixed; boundary=b", form([one])[1]),
            ("multipart/form-data; boundary=b; charset=utf-7", form([one], "+AGE-")[1]),
            ("multipart/form-data; boundary=b; charset=idna", form([one], "\xff")[1]),
            form([one], "../../etc/passwd"),
            form([one], 'a"; filename="b'),
            form([one], "x" * 50_000),
            form([one], "\x00\x01"),
            ("multipart/form-data; boundary=b", b"--b\r\n" * 5000),
            ("multipart/form-data; boundary=b", b"--b--" + self.random.randbytes(1000)),
            ("multipart/form-data; boundary=b", self.random.randbytes(3000)),
            ("multipart/form-data; boundary=b", head + b"\r\n" * 2000),
            ("multipart/form-data; boundary=b", head + b"\r\nX: " + b"x" * 100_000),
            ("multipart/form-data; boundary=b", head + b"\r\nX: 1" * 3000 + b"\r\n\r\nx\r\n--b--"),
            ("multipart/form-data; boundary=b", b""),
        ]
        return self._body("odd form", *self.random.choice(choices))

    def damaged_picture(self) -> Attack:
        """A picture with flipped, missing, doubled or foreign bytes."""
        data = bytearray(self.random.choice(self.pictures))
        for _ in range(self.random.choice([1, 4, 40])):
            at = self.random.randrange(len(data))
            match self.random.randrange(4):
                case 0:
                    data[at] ^= 1 << self.random.randrange(8)
                case 1:
                    del data[at : at + self.random.randint(1, 50)]
                case 2:
                    data[at:at] = data[at : at + self.random.randint(1, 50)]
                case _:
                    data[at:at] = self.random.randbytes(self.random.randint(1, 8))
            if not data:
                data = bytearray(b"\xff\xd8")
        return self._picture("damaged picture", bytes(data))

    def bomb(self) -> Attack:
        """A small file that says, or unpacks to, something large."""
        side = self.random.choice([20_000, 65_535, 2**31 - 1])
        choices = [
            png(side, side, zlib.compress(bytes(1000))),
            png(side, 1, zlib.compress(bytes(1000))),
            png(64, 64, zlib.compress(bytes(20_000_000), 9)),
            png(9_000, 9_000, zlib.compress(bytes(9_000 * 9_000), 9)),
            png(0, 0, b""),
            b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"\x2c" + bytes(20) + b";",
            with_jpeg_size(self.pictures[0], 65_500, 65_500),
            b"BM" + struct.pack("<IHHIIiiHHIIIIII", 60, 0, 0, 54, 40, side, side, 1, 24, *[0] * 6),
            b"RIFF" + struct.pack("<I", 2**32 - 1) + b"WEBPVP8X" + bytes(50),
            b"II*\x00" + struct.pack("<I", 8) + struct.pack("<H", 65_535) + bytes(500),
            b"<svg onload='alert(1)'/>",
            b"%PDF-1.7",
            b"PK\x03\x04" + bytes(100),
            b"",
        ]
        return self._picture("bomb", self.random.choice(choices))

    def wrong_types(self) -> Attack:
        """JSON whose values are of other types than they should be."""
        odd: list[Any] = [
            None,
            True,
            -1,
            0,
            1e308,
            2**63,
            "",
            "x",
            [],
            {},
            [[]],
            {"a": 1},
            [None],
            "\u0000",
        ]
        body: dict[str, Any] = {"images": [{"data": self._base64(self.pictures[1])}]}
        choices: list[Any] = [
            self.random.choice(odd),
            {"images": self.random.choice(odd)},
            {"images": [self.random.choice(odd)]},
            {"images": [{"data": self.random.choice(odd)}]},
            {"images": [{"uri": self.random.choice(odd)}]},
            {"images": body["images"] * 500},
            {**body, "model": self.random.choice(odd)},
            {**body, "min_score": self.random.choice(odd)},
            {**body, self.random.choice(["__proto__", "draw", "pose", "x" * 5000]): odd},
            {"images": [{"data": body["images"][0]["data"], "uri": "s3://a/b"}]},
        ]
        return self._json("wrong types", json.dumps(self.random.choice(choices)).encode())

    def odd_json(self) -> Attack:
        """JSON that is deep, wide, doubled, not finite, or none."""
        deep = self.random.choice([30, 1000, 200_000])
        choices = [
            b"[" * deep,
            b'{"a":' * deep + b"1" + b"}" * deep,
            b"[" + b"[]," * 300_000 + b"1]",
            b'{"images": [' + b"{}," * 300_000 + b"{}]}",
            b'{"images": [' + b"1," * 900_000 + b"1]}",
            b'{"images": [], "images": [1]}',
            b'{"min_score": NaN}',
            b'{"min_score": 1e999}',
            b'{"min_score": ' + b"9" * 5000 + b"}",
            b'"' + b'\\"' * 200_000,
            b"{" + self.random.randbytes(500),
            b"\xef\xbb\xbf{}",
            b"",
            json.dumps({"images": []}).encode("utf-16"),
        ]
        return self._json("odd JSON", self.random.choice(choices))

    def odd_text(self) -> Attack:
        """Bytes that are no UTF-8, half surrogate pairs, controls."""
        choices = [
            b'{"model": "\xff\xfe"}',
            b'{"model": "\\ud800"}',
            b'{"model": "\\u0000"}',
            b'{"\\udfff": 1}',
            b'{"model": "\xed\xa0\x80"}',
            b'{"model": "' + "\u202e\u0301".encode() * 3000 + b'"}',
            b'{"model": "\xc0\xaf..\xc0\xaf"}',
        ]
        return self._json("odd text", self.random.choice(choices))

    def odd_address(self) -> Attack:
        """Pictures by addresses that nobody allowed."""
        uris = [
            "file:///etc/passwd",
            "/etc/passwd",
            "http://169.254.169.254/latest/meta-data/",
            "https://127.0.0.1/",
            "s3://secret/../a.jpg",
            "s3://secret/a.jpg",
            "s3://" + "x" * 5000,
            "gopher://127.0.0.1:6379/_FLUSHALL",
            "data:image/png;base64,AAAA",
            "data:,",
            "\x00",
            "s3://[::1]/a",
        ]
        uri = self.random.choice(uris)
        return self._json("odd address", json.dumps({"images": [{"uri": uri}]}).encode())

    def large_headers(self) -> Attack:
        """Headers that are many or long."""
        choices = [
            [f"X-{number}: 1" for number in range(self.random.choice([150, 2000]))],
            ["X: " + "x" * self.random.choice([40_000, 300_000])],
            ["Cookie: " + "a=b; " * 10_000],
            ["Authorization: Bearer x"] * 3,
            ["Content-Type: application/json"] * 2,
            ["X-Request-ID: " + "x" * 5000],
            ["X-Request-Timeout-Seconds: \xff"],
            ["Transfer-Encoding: gzip, chunked"],
            ["Expect: 100-continue"],
            ["Upgrade: websocket", "Connection: Upgrade"],
            ["Accept: " + "text/html," * 3000],
            ["Content-Encoding: gzip"],
        ]
        body = self._base64(self.pictures[1]).encode()
        request = self._post("application/json", body, self.random.choice(choices))
        return Attack("large headers", "protocol", [(0.0, request)])

    def odd_key(self) -> Attack:
        """Keys that are none."""
        choices = [
            "",
            "Bearer",
            "Bearer " + "x" * 20_000,
            "Basic Og==",
            "Bearer \xff",
            "\t",
            "Bearer \x7f",
        ]
        value = self.random.choice(choices)
        request = self._post(*form([self.pictures[1]]), key=f"Authorization: {value}")
        return Attack("odd key", "protocol", [(0.0, request)])

    def odd_path(self) -> Attack:
        """Paths, queries and methods that are none."""
        paths = [
            "/",
            "//",
            "/v1/detect/../../etc/passwd",
            "/%2e%2e/%2e%2e/etc/passwd",
            "/page/..%2f..%2fetc/passwd",
            "/v1/detect%00",
            "/v1/detect?" + "x=1&" * 500,
            "/v1/detect?min_score=%ff&model=%00",
            "/v1/detect?json=" + "%5B" * 300,
            "/v1/nothing",
            "/v2/models/%2e%2e/infer",
            "/" + "x" * 20_000,
            "/problems/%0d%0aX:1",
            "*",
            "http://evil.example/v1/detect",
            "/\xff",
        ]
        methods = [
            "GET",
            "POST",
            "PUT",
            "DELETE",
            "PATCH",
            "HEAD",
            "OPTIONS",
            "TRACE",
            "CONNECT",
            "X",
        ]
        line = f"{self.random.choice(methods)} {self.random.choice(paths)} HTTP/1.1"
        request = "\r\n".join([line, *self._common(), "Content-Length: 0", "", ""])
        return Attack("odd path", "protocol", [(0.0, request.encode("latin-1"))])

    def no_http(self) -> Attack:
        """Bytes that are no HTTP, or HTTP that can be read in two ways."""
        key = "\r\n".join(self._common()).encode()
        post = b"POST /v1/detect HTTP/1.1\r\n" + key + b"\r\n"
        choices = [
            self.random.randbytes(self.random.randint(1, 2000)) + b"\r\n\r\n",
            b"GET\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500) + b"\r\n\r\n",
            post + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
            post + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            post + b"Content-Length: -5\r\n\r\n",
            post + b"Content-Length: 99999999999999999999\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
            post
            + b"Transfer-Encoding: chunked\r\n\r\n5;"
            + b"x" * 50_000
            + b"\r\nhello\r\n0\r\n\r\n",
            post + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
            post + b"Content-Length: 0\r\n\r\nGET / HTTP/1.1\r\n\r\n",
            post + b"X : 1\r\n\r\n",
            post + b" folded: 1\r\n\r\n",
            post + b"X: a\rb\r\n\r\n",
            post + b"X: a\x00b\r\n\r\n",
        ]
        return Attack("no HTTP", "protocol", [(0.0, self.random.choice(choices))])

    def early_end(self) -> Attack:
        """A client that goes away, at any place of its request or before the answer."""
        request = self._post(*form([self.random.choice(self.pictures)]))
        at = self.random.randrange(len(request) + 1)
        return Attack("early end", "gone", [(0.0, request[:at])])

    def slow(self) -> Attack:
        """A client that stops, or sends a byte at a time."""
        request = self._post(*form([self.pictures[0]]))
        at = request.index(b"\r\n\r\n") + 4 + self.random.randrange(200)
        pieces = [(0.0, request[:at])]
        if self.random.random() < 0.5:
            pieces += [(0.3, request[at + n : at + n + 1]) for n in range(100)]
        return Attack("slow", "slow", pieces)

    def _picture(self, name: str, data: bytes) -> Attack:
        match self.random.randrange(3):
            case 0:
                return self._body(name, *form([data]))
            case 1:
                return self._body(name, "image/png", data)
            case _:
                body = json.dumps({"images": [{"data": self._base64(data)}]})
                return self._json(name, body.encode())

    def _json(self, name: str, body: bytes) -> Attack:
        return self._body(name, "application/json", body)

    def _body(self, name: str, kind: str, body: bytes) -> Attack:
        return Attack(name, "body", [(0.0, self._post(kind, body))])

    def _post(
        self,
        kind: str,
        body: bytes,
        more: list[str] | None = None,
        key: str | None = None,
        path: str | None = None,
    ) -> bytes:
        """Return a whole request; its body is chunked one time in four."""
        lines = [f"POST {path or self.random.choice(PATHS)} HTTP/1.1", *self._common(key)]
        lines += [f"Content-Type: {kind}", *(more or [])]
        if self.random.random() < 0.25:
            lines.append("Transfer-Encoding: chunked")
            body = chunked(body, self.random.randint(1000, 100_000))
        else:
            lines.append(f"Content-Length: {len(body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + body

    def _common(self, key: str | None = None) -> list[str]:
        return [
            "Host: localhost",
            "Connection: close",
            key or f"Authorization: Bearer {self.token}",
        ]

    def _base64(self, data: bytes) -> str:
        text = base64.b64encode(data).decode()
        if self.random.random() < 0.2:
            at = self.random.randrange(len(text) + 1)
            text = text[:at] + self.random.choice(["=", "\n", "é", "*", "A"]) + text[at:]
        return text


def picture(seed: int, format_: str) -> bytes:
    """Return a small picture of a format."""
    pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    large = Image.fromarray(pixels).resize((120, 90))
    file = io.BytesIO()
    large.save(file, format_)
    return file.getvalue()


def form(pictures: list[bytes], filename: str = "a.jpg") -> tuple[str, bytes]:
    """Return the content type and body of a form with these files."""
    head = f'--b\r\nContent-Disposition: form-data; name="files"; filename="{filename}"\r\n\r\n'
    parts = [head.encode("utf-8") + data + b"\r\n" for data in pictures]
    return "multipart/form-data; boundary=b", b"".join(parts) + b"--b--\r\n"


def chunked(body: bytes, size: int) -> bytes:
    """Return a body in chunks."""
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\n"


def png(width: int, height: int, data: bytes) -> bytes:
    """Return a grey PNG that says a size, with these packed pixels."""
    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def with_jpeg_size(data: bytes, width: int, height: int) -> bytes:
    """Return a JPEG that says another size than it has."""
    at = data.index(b"\xff\xc0") + 5
    return data[:at] + struct.pack(">HH", height, width) + data[at + 4 :]
