"""A file is downloaded from the first mirror that has it, or each failure is named."""

import contextlib
import dataclasses
import doctest
import io
import os
import re
import socket
import sys
import threading
import time

import pytest

from mnist_keras.data.datasets import download
from mnist_keras.data.datasets.download import Downloader, DownloadError, Limits
from mnist_keras.data.formats.idx import read_idx
from mnist_keras.errors import DataError
from mnist_keras.inputs.file_lock import FileLock
from tests.terminals import Screen, Terminal, use_terminal

BODY = bytes(range(256)) * 200


def verify(path):
    if path.read_bytes() != BODY:
        raise DataError("other bytes")


@pytest.fixture
def downloader(limits):
    return Downloader(limits)


@pytest.fixture
def fetch(downloader, tmp_path):
    """Fetches the file "a" from the urls: (its bytes, names of all files)."""

    def call(*urls):
        downloader.fetch(urls, tmp_path / "a", verify=verify)
        return (tmp_path / "a").read_bytes(), sorted(os.listdir(tmp_path))

    return call


@pytest.fixture
def failures(downloader, tmp_path):
    """Fetches the file "a" from urls that all fail: {url: the failure}."""

    def call(*urls):
        with pytest.raises(DownloadError) as caught:
            downloader.fetch(urls, tmp_path / "a", verify=verify)
        assert os.listdir(tmp_path) == []
        assert "\n" not in str(caught.value)
        return caught.value.failures

    return call


def test_the_first_mirror_with_the_file_is_used(mirrors, fetch):
    without, having, unused = mirrors(), mirrors({"a": BODY}), mirrors({"a": BODY})
    assert fetch(*(mirror.url + "a" for mirror in (without, having, unused))) == (BODY, ["a"])
    assert (without.requests, having.requests, unused.requests) == (["a"], ["a"], [])


def test_the_error_names_every_mirrors_failure_in_one_line(mirrors, dead_url, downloader, tmp_path):
    mirror = mirrors({"a": b"<!DOCTYPE html><html>", "b": 403})
    urls = [dead_url + "a", mirror.url + "a", mirror.url + "b", mirror.url + "c"]
    with pytest.raises(DownloadError) as caught:
        downloader.fetch(urls, tmp_path / "a", verify=verify)
    assert str(caught.value) == (
        f"a cannot be downloaded. Received: {urls[0]}: connection refused; {urls[1]}: not the "
        f"published file (21 bytes that start with b'<!DOCTYPE html><'); {urls[2]}: HTTP 403; "
        f"{urls[3]}: HTTP 404. Expected: one mirror that has the published file."
    )


def test_a_server_error_is_retried(mirrors, fetch):
    mirror = mirrors()
    mirror.routes["a"] = [500, 503, BODY]
    assert fetch(mirror.url + "a") == (BODY, ["a"])
    assert mirror.requests == ["a"] * 3


def test_server_errors_get_three_tries_and_missing_files_one(mirrors, failures):
    broken, missing = mirrors({"a": 500}), mirrors()
    assert failures(broken.url + "a", missing.url + "a") == {
        broken.url + "a": "HTTP 500",
        missing.url + "a": "HTTP 404",
    }
    assert (broken.requests, missing.requests) == (["a"] * 3, ["a"])


def test_a_truncated_download_is_retried(mirrors, fetch):
    mirror = mirrors()
    mirror.routes["a"] = [mirror.truncate(BODY), BODY]
    assert fetch(mirror.url + "a") == (BODY, ["a"])


def test_a_download_truncated_every_time_fails(mirrors, failures):
    mirror = mirrors()
    mirror.routes["a"] = [mirror.truncate(BODY)]
    found = failures(mirror.url + "a")
    assert list(found) == [mirror.url + "a"]
    assert found[mirror.url + "a"].startswith("cut off")
    assert mirror.requests == ["a"] * 3


def test_truncation_without_content_length_is_detected_by_content(mirrors, failures):
    def answer(handler):
        mirror.send_headers(handler, None)
        handler.wfile.write(BODY[:1000])

    mirror = mirrors({"a": answer})
    assert failures(mirror.url + "a") == {
        mirror.url + "a": f"not the published file (1000 bytes that start with {BODY[:16]!r})"
    }


def test_a_server_that_never_answers_times_out(mirrors, fetch):
    silent, having = mirrors(), mirrors({"a": BODY})
    silent.routes["a"] = [silent.stall]
    assert fetch(silent.url + "a", having.url + "a") == (BODY, ["a"])


def test_a_download_that_stalls_times_out(mirrors, fetch):
    stalling, having = mirrors(), mirrors({"a": BODY})
    stalling.routes["a"] = [stalling.stall_after(BODY)]
    assert fetch(stalling.url + "a", having.url + "a") == (BODY, ["a"])
    assert stalling.requests == ["a"]


def test_an_unresponsive_host_is_not_asked_again(mirrors, dead_url, downloader, tmp_path):
    silent, having = mirrors(), mirrors({"a": BODY, "b": BODY})
    silent.routes["a"] = [silent.stall]
    for name in ("a", "b"):
        urls = [base + name for base in (dead_url, silent.url, having.url)]
        downloader.fetch(urls, tmp_path / name, verify=verify)
    assert (silent.requests, having.requests) == (["a"], ["a", "b"])
    with pytest.raises(DownloadError) as caught:
        downloader.fetch([dead_url + "c"], tmp_path / "c", verify=verify)
    assert caught.value.failures == {dead_url + "c": "not tried again (connection refused)"}


def test_a_host_missing_one_file_is_asked_for_the_next(mirrors, downloader, tmp_path):
    partial, having = mirrors({"b": BODY}), mirrors({"a": BODY})
    for name in ("a", "b"):
        urls = [partial.url + name, having.url + name]
        downloader.fetch(urls, tmp_path / name, verify=verify)
    assert (partial.requests, having.requests) == (["a", "b"], ["a"])


@pytest.mark.slow
def test_after_the_time_limit_no_further_mirror_is_tried(mirrors, limits, tmp_path):
    downloader = Downloader(dataclasses.replace(limits, stall_s=0.4, decision_s=1.2))
    mirror = mirrors()
    mirror.routes = {name: [mirror.stall_after(BODY)] for name in "abcdef"}
    with pytest.raises(DownloadError) as caught:
        downloader.fetch([mirror.url + name for name in "abcdef"], tmp_path / "a", verify=verify)
    # After waits of 0.4, 0.4, 0.2 and 0.1 s less than an eighth is left.
    assert list(caught.value.failures.values()) == [
        *["stalled"] * 4,
        *["not tried within 1.2 s"] * 2,
    ]


def test_pauses_between_tries_count_towards_the_time_limit(mirrors, tmp_path):
    pauses_s = []
    limits = Limits(decision_s=5, backoff_s=2)
    downloader = Downloader(limits, clock=lambda: 0.0, sleep=pauses_s.append)
    mirror = mirrors({"a": 500, "b": 500})
    urls = [mirror.url + "a", mirror.url + "b"]
    with pytest.raises(DownloadError) as caught:
        downloader.fetch(urls, tmp_path / "a", verify=verify)
    assert pauses_s == [2, 2]
    assert caught.value.failures == dict.fromkeys(urls, "HTTP 500")
    assert mirror.requests == ["a", "a", "b", "b"]


def test_a_slow_but_steady_download_is_not_aborted(mirrors, limits, tmp_path):
    def trickle(handler):
        mirror.send_headers(handler, len(BODY))
        for start in range(0, len(BODY), len(BODY) // 20):
            handler.wfile.write(BODY[start : start + len(BODY) // 20])
            time.sleep(0.02)

    # The download takes 0.4 s, longer than decision_s.
    downloader = Downloader(dataclasses.replace(limits, stall_s=0.25, decision_s=0.3))
    mirror = mirrors({"a": trickle})
    downloader.fetch([mirror.url + "a"], tmp_path / "a", verify=verify)
    assert (tmp_path / "a").read_bytes() == BODY


def test_a_name_server_that_does_not_answer_times_out(limits, failures, downloader, monkeypatch):
    released = threading.Event()

    def hang(*_, **__):
        released.wait(60)
        raise socket.gaierror("no answer")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    try:
        found = failures("http://digits.invalid/a")
    finally:
        released.set()
    assert found == {"http://digits.invalid/a": "no answer within 0.4 s"}
    for thread in threading.enumerate():
        if thread.name == "mnist_keras download":
            thread.join()


def test_an_unknown_host_is_reported(failures, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    assert failures("http://digits.invalid/a", "http://digits.invalid/b") == {
        "http://digits.invalid/a": "host name not found",
        "http://digits.invalid/b": "not tried again (host name not found)",
    }


def test_an_answer_after_the_time_limit_is_closed(mirrors, limits, tmp_path):
    mirror, hung_up = mirrors(), threading.Event()

    def late(handler):
        mirror.released.wait(60)
        with contextlib.suppress(ConnectionError):
            mirror.send_headers(handler, 10**9)
            for _ in range(10**5):
                handler.wfile.write(bytes(10**4))
        hung_up.set()

    mirror.routes["a"] = [late]
    downloader = Downloader(dataclasses.replace(limits, stall_s=30, decision_s=0.1))
    with pytest.raises(DownloadError):
        downloader.fetch([mirror.url + "a", mirror.url + "b"], tmp_path / "a", verify=verify)
    mirror.released.set()
    assert hung_up.wait(30)


def test_redirects_are_followed(mirrors, fetch):
    mirror = mirrors()
    mirror.routes = {"a": [mirror.redirect(mirror.url + "elsewhere")], "elsewhere": [BODY]}
    assert fetch(mirror.url + "a") == (BODY, ["a"])


def test_endless_redirects_are_an_error(mirrors, failures):
    mirror = mirrors()
    mirror.routes["a"] = [mirror.redirect(mirror.url + "a")]
    assert failures(mirror.url + "a") == {mirror.url + "a": "too many redirects"}
    assert mirror.requests == ["a"] * 6


def test_a_gzip_file_sent_as_content_encoding_stays_compressed(mirrors, fetch):
    def answer(handler):
        mirror.send_headers(handler, len(BODY), Content_Encoding="gzip")
        handler.wfile.write(BODY)

    mirror = mirrors({"a": answer})
    assert fetch(mirror.url + "a") == (BODY, ["a"])


@pytest.mark.parametrize("length", [None, 5001])
def test_a_file_larger_than_the_limit_is_refused(mirrors, limits, tmp_path, length):
    def answer(handler):
        mirror.send_headers(handler, length)
        handler.wfile.write(bytes(5001))

    mirror = mirrors({"a": answer})
    downloader = Downloader(dataclasses.replace(limits, max_bytes=5000))
    with pytest.raises(DownloadError) as caught:
        downloader.fetch([mirror.url + "a"], tmp_path / "a", verify=verify)
    reason = "5001 bytes, more than 5000" if length else "more than 5000 bytes"
    assert caught.value.failures == {mirror.url + "a": reason}
    assert os.listdir(tmp_path) == []


def test_wrong_bytes_never_replace_an_existing_file(mirrors, downloader, tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    mirror = mirrors({"a": BODY[::-1]})
    with pytest.raises(DownloadError):
        downloader.fetch([mirror.url + "a"], tmp_path / "a", verify=verify)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old"}


def test_a_full_disk_is_not_blamed_on_the_mirrors(mirrors, downloader, tmp_path, monkeypatch):
    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    mirror = mirrors({"a": BODY})
    with pytest.raises(DataError) as caught:
        downloader.fetch([mirror.url + "a"] * 2, tmp_path / "a", verify=verify)
    assert str(caught.value) == (
        f"{str(tmp_path / 'a')!r} cannot be written. Received: No space left on device. "
        "Expected: a writable directory."
    )
    assert mirror.requests == ["a"]
    assert os.listdir(tmp_path) == []


def test_the_proxy_from_the_environment_is_used(mirrors, fetch, monkeypatch):
    proxy = mirrors({"ttp://digits.invalid/a": BODY})
    monkeypatch.setenv("HTTP_PROXY", proxy.url)
    assert fetch("http://digits.invalid/a") == (BODY, ["a"])


def test_waiting_for_an_idle_process_to_unlock_times_out(downloader, tmp_path):
    held = FileLock(tmp_path / ".lock")
    with held, downloader.alone_in(tmp_path):
        assert held.is_held


def test_waiting_continues_while_the_lock_holders_download_grows(limits, tmp_path):
    held = FileLock(tmp_path / ".lock")
    held.acquire()
    growing = tmp_path / ".a.0.part"
    growing.touch()
    slept = []

    def sleep(_):
        slept.append(len(slept) + 1.0)
        if len(slept) < 10:
            growing.write_bytes(bytes(len(slept)))
        elif held.is_held:
            held.release()

    downloader = Downloader(
        dataclasses.replace(limits, lock_idle_s=1.5), clock=lambda: float(len(slept)), sleep=sleep
    )
    with downloader.alone_in(tmp_path):
        assert not held.is_held
        with pytest.raises(BlockingIOError):
            FileLock(tmp_path / ".lock").acquire()
    assert len(slept) == 10


@pytest.fixture
def leftovers(tmp_path):
    """Files of a killed process: an old part, a new one, and one that is not a part."""
    paths = [tmp_path / name for name in (".a.0.part", ".a.1.part", "a.part")]
    for path, age_s in zip(paths, (90, 5, 90), strict=True):
        path.touch()
        os.utime(path, (time.time() - age_s,) * 2)
    (tmp_path / ".lock").touch()
    return paths


def test_leftovers_of_killed_processes_are_removed_after_a_minute(downloader, leftovers, tmp_path):
    with downloader.alone_in(tmp_path):
        pass
    assert [path.exists() for path in leftovers] == [False, True, True]
    assert not (tmp_path / ".lock").exists()


def test_leftovers_are_removed_without_a_download(leftovers, tmp_path):
    with FileLock(tmp_path / ".lock"):
        download.tidy(tmp_path)
        assert all(path.exists() for path in leftovers)
    (tmp_path / ".lock").touch()
    download.tidy(tmp_path)
    assert [path.exists() for path in leftovers] == [False, True, True]
    assert not (tmp_path / ".lock").exists()


def test_a_folder_that_cannot_be_created_is_named(downloader, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(DataError) as caught, downloader.alone_in(tmp_path / "file" / "cache"):
        pass
    assert str(caught.value) == (
        f"The cache directory cannot be created. Received: {str(tmp_path / 'file' / 'cache')!r}: "
        "Not a directory. Expected: a writable directory."
    )


def test_a_terminal_shows_a_bar_and_removes_it(mirrors, fetch, monkeypatch):
    use_terminal(monkeypatch, columns=40, NO_COLOR="1")
    screen = Screen(40)
    monkeypatch.setattr(sys, "stderr", Terminal(screen))
    fetch(mirrors({"a": BODY}).url + "a")
    assert re.fullmatch(r"a  ━*╸? *  0\.\d/0\.1 MB( +0:00 left)?", screen.frames[0][0])
    assert screen.lines == []


def test_without_a_terminal_nothing_is_printed(mirrors, fetch, monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    fetch(mirrors({"a": BODY}).url + "a")
    assert sys.stderr.getvalue() == ""


def test_the_examples_in_the_docstrings_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(download, extraglobs={"read_idx": read_idx}).failed == 0
