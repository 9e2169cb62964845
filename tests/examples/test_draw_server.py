"""The server of the page: its answers, and that no request stops it."""

import asyncio
import base64
import collections
import http.client
import json
import threading

import numpy as np
import pytest
from PIL import Image

from mnist_keras.app.config import RunConfig
from mnist_keras.app.predict import predict
from mnist_keras.photos import photo_file
from mnist_keras.photos.reading import read
from tests.examples import bad_requests

pytestmark = pytest.mark.slow

MIB = 2**20


def ask(server, method, path, body=None, **headers):
    """(status, headers, body) of the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.headers, answer.read()
    finally:
        connection.close()


def read_by(server, path, body, content_type="image/png"):
    status, _, answer = ask(server, "POST", path, body, **{"Content-Type": content_type})
    assert status == 200, answer
    return json.loads(answer)


@pytest.mark.parametrize("path", ["/drawing", "/photo"])
def test_it_reads_the_same_digits_as_the_command_line(path, server, run, photo, capsys):
    found = read_by(server, path, photo.read_bytes())
    config = RunConfig(
        mode="predict",
        logdir=str(run.parent),
        run_name=run.name,
        loss="categorical_crossentropy",
        paths=(str(photo),),
        json=True,
    )
    predict(config)
    expected = json.loads(capsys.readouterr().out)["digits"]
    assert [digit["digit"] for digit in expected] == [7, 2, 0, 1]
    for digit, other in zip(found["digits"], expected, strict=True):
        assert np.argmax(digit["probabilities"]) == other["digit"]
        assert max(digit["probabilities"]) == pytest.approx(other["probability"], abs=1e-3)
        assert digit["box"] == other["box"]
    images = [np.frombuffer(base64.b64decode(d["image"]), np.uint8) for d in found["digits"]]
    np.testing.assert_array_equal(np.reshape(images, (-1, 28, 28)), read(photo).images)
    assert found["size"] == [800, 200]
    assert ("preview" in found) == (path == "/photo")


def test_a_phone_photo_is_shown_upright_and_small(server, tmp_path):
    sheet = np.full((3000, 4000), 220, np.uint8)
    sheet[1000:1200, 2000:3000] = 40
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(sheet).save(tmp_path / "photo.jpg", exif=exif)
    found = read_by(server, "/photo", (tmp_path / "photo.jpg").read_bytes(), "image/jpeg")
    assert found["size"] == [3000, 4000]
    (tmp_path / "preview.jpg").write_bytes(base64.b64decode(found["preview"]))
    preview = photo_file.read_photo(tmp_path / "preview.jpg")
    assert preview.grey.shape == (1000, 750)
    (digit,) = found["digits"]
    np.testing.assert_allclose(digit["box"], [1800, 2000, 200, 1000], atol=12)
    assert preview.grey[625, 475] < 80
    assert preview.grey[625, 400] > 200


def test_the_page_files_have_security_headers(server):
    for path, kind in {
        "/": "text/html",
        "/style.css": "text/css",
        "/page.js": "text/javascript",
        "/pad.js": "text/javascript",
        "/answer.js": "text/javascript",
        "/icon.svg": "image/svg+xml",
    }.items():
        status, headers, body = ask(server, "GET", path)
        assert (status, headers["Content-Type"]) == (200, f"{kind}; charset=utf-8")
        assert len(body) > 100
        policy = headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert not [name for name in headers if name.startswith("Access-Control")]
        assert headers["Server"] == "draw"
    assert ask(server, "HEAD", "/")[::2] == (200, b"")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "localhost:9000", "LOCALHOST"])
def test_requests_to_this_machines_names_are_answered(host, server):
    assert ask(server, "GET", "/", Host=host)[0] == 200
    assert ask(server, "GET", "/", Host=host, Origin=f"http://{host}")[0] == 200


class Watch(threading.Thread):
    """Sends valid requests in a loop; keeps the peak memory in MiB."""

    def __init__(self, server, picture):
        super().__init__()
        self._server, self._picture, self._is_over = server, picture, threading.Event()
        self.most_mib, self.read = 0, collections.Counter()

    def run(self):
        while not self._is_over.wait(0.1):
            self.most_mib = max(self.most_mib, self._server.memory_mib())
            status, _, answer = ask(
                self._server, "POST", "/drawing", self._picture, **{"Content-Type": "image/png"}
            )
            digits = json.loads(answer).get("digits", ())
            self.read[status, tuple(np.argmax(digit["probabilities"]) for digit in digits)] += 1

    def end(self):
        self._is_over.set()
        self.join()


def test_after_a_thousand_bad_requests_it_still_answers(server, run, photo):
    requests = bad_requests.thousand()
    assert len(requests) == 1000
    watch = Watch(server, photo.read_bytes())
    before = server.memory_mib()
    watch.start()
    try:
        found = asyncio.run(bad_requests.answers(server.port, requests, at_once=40))
    finally:
        watch.end()
    wrong = [
        (bad_requests.status_of(data), bad.statuses, bad.data[:200])
        for bad, data in zip(requests, found, strict=True)
        if bad_requests.status_of(data) not in bad.statuses
    ]
    assert wrong == []
    answered = [data for data in found if data]
    assert len(answered) > 900
    for data in answered:
        body = data.partition(b"\r\n\r\n")[2]
        assert body.count(b"\n") == 0
        assert list(json.loads(body)) == ["error"]
    secrets = bad_requests.secrets(run)
    told = [secret for secret in secrets if any(secret in data for data in answered)]
    assert told == []
    assert set(watch.read) == {(200, (7, 2, 0, 1))}
    assert watch.most_mib - before < 400
    assert [
        np.argmax(d["probabilities"])
        for d in read_by(server, "/photo", photo.read_bytes())["digits"]
    ] == [7, 2, 0, 1]


def test_connections_over_the_limit_are_refused_and_idle_ones_closed(server, photo):
    async def crowd():
        idle = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(200)]
        answers = await asyncio.gather(*(reader.read() for reader, _ in idle))
        for _, writer in idle:
            writer.close()
        return collections.Counter(map(bad_requests.status_of, answers))

    statuses = asyncio.run(crowd())
    assert statuses[503] >= 50
    assert statuses[0] >= 100
    assert len(read_by(server, "/drawing", photo.read_bytes())["digits"]) == 4
