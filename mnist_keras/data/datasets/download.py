"""Downloads a file from the first mirror that has it.

This uses requests rather than pooch, which is built on it. Pooch checks only the hash of the
container, but MNIST is published in differently compressed files. Pooch also takes one address,
retries a 404 like a 503, limits neither the size nor the time, and leaves a temporary file when the
process is killed.
"""

import contextlib
import os
import socket
import threading
import time
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from mnist_keras.console.progress_display import task_progress
from mnist_keras.data.formats.idx import replacing
from mnist_keras.errors import DataError
from mnist_keras.inputs.file_lock import FileLock, LockHeldError

_CHUNK_BYTES = 1 << 14
_STALE_PART_S = 60  # A download that stalls for a few seconds is given up.
_LOCK = ".lock"
_LOCK_POLL_S = 0.05
_LEAST_PATIENCE = 1 / 8  # Of decision_s; with less time left no mirror is tried.


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a Downloader; times in seconds.

    ``decision_s`` limits the total time in which no data arrive, over all files and mirrors. After
    it the download has failed. A download whose data keep arriving is never stopped.
    """

    connect_s: float = 3.0
    stall_s: float = 5.0
    decision_s: float = 8.0
    tries: int = 3
    backoff_s: float = 0.5
    redirects: int = 5
    max_bytes: int = 64 << 20
    lock_idle_s: float = 3.0


class DownloadError(DataError):
    """No mirror returned the file.

    Attributes:
        failures: {address: the reason of its failure}.
        received: the same in one line.
    """

    def __init__(self, name, failures):
        """Takes the file's name and ``failures``."""
        self.failures = failures
        self.received = "; ".join(f"{url}: {reason}" for url, reason in failures.items())
        super().__init__(
            f"{name} cannot be downloaded. Received: {self.received or 'no mirror'}. "
            "Expected: one mirror that has the published file."
        )


class Downloader:
    """Downloads the files of a data set; a host that did not answer once is not tried again.

    >>> downloader = Downloader()
    >>> downloader.fetch(["http://127.0.0.1:9/digits.gz"], "digits.gz", verify=read_idx)
    Traceback (most recent call last):
    mnist_keras.data.datasets.download.DownloadError: digits.gz cannot be downloaded. Received: \
http://127.0.0.1:9/digits.gz: connection refused. Expected: one mirror that has the published file.
    """

    def __init__(self, limits=None, *, clock=time.monotonic, sleep=time.sleep):
        """Takes Limits and, for tests, another clock and another sleep, both in seconds."""
        self.limits = limits or Limits()
        self._clock = clock
        self._sleep = sleep
        self._silent_hosts = {}
        self._patience_s = self.limits.decision_s

    def fetch(self, urls, target, *, verify):
        """Downloads to ``target`` from the first of ``urls`` whose bytes are right.

        The target appears atomically, after it is verified.

        Args:
            urls: the addresses of the file on the mirrors.
            target: the path of the file.
            verify: a function of a path that raises DataError for wrong bytes.

        Returns:
            The path.

        Raises:
            DownloadError: no mirror has the file.
            DataError: the file cannot be written.
        """
        target = Path(target)
        failures = {}
        for position, url in enumerate(urls):
            try:
                self._fetch_from(url, target, verify, mirrors_left=len(urls) - position)
            except _MirrorFailed as failure:
                failures[url] = str(failure)
            else:
                # A mirror works: the next file has the full time again.
                self._patience_s = self.limits.decision_s
                return target
        raise DownloadError(target.name, failures)

    @contextlib.contextmanager
    def alone_in(self, folder):
        """Creates ``folder`` and keeps other processes from downloading into it meanwhile.

        Waits as long as another process's download grows, then proceeds without the lock: two
        parallel downloads are wasteful but safe. The system releases the lock of a dead process.

        Raises:
            DataError: the folder cannot be created.
        """
        folder = Path(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"The cache directory cannot be created. Received: {os.fspath(folder)!r}: "
                f"{error.strerror}. Expected: a writable directory."
            ) from error
        lock = FileLock(folder / _LOCK)
        self._wait_for(lock, folder)
        try:
            _remove_stale_parts(folder)
            yield
        finally:
            lock.release()

    def _wait_for(self, lock, folder):
        seen, idle_since = None, self._clock()
        while True:
            try:
                lock.acquire()
                break
            except LockHeldError:
                now, parts = self._clock(), _part_sizes(folder)
                if parts != seen:
                    seen, idle_since = parts, now
                elif now - idle_since >= self.limits.lock_idle_s:
                    break
            except OSError:
                break  # `fetch` reports a folder that cannot be written.
            self._sleep(_LOCK_POLL_S)
        self._patience_s -= self._clock() - idle_since

    def _fetch_from(self, url, target, verify, *, mirrors_left):
        host = urlsplit(url).netloc
        if host in self._silent_hosts:
            raise _MirrorFailed(f"not tried again ({self._silent_hosts[host]})")
        least_s = _LEAST_PATIENCE * self.limits.decision_s
        for attempt in range(self.limits.tries):
            if self._patience_s < least_s:
                raise _MirrorFailed(f"not tried within {self.limits.decision_s:g} s")
            try:
                self._try_once(url, target, verify, mirrors_left)
                return
            except _HostSilent as failure:
                self._silent_hosts[host] = str(failure)
                raise
            except _MayPass:
                pause_s = self.limits.backoff_s * 2**attempt
                if attempt + 1 == self.limits.tries or self._patience_s - pause_s < least_s:
                    raise
                self._patience_s -= pause_s
                self._sleep(pause_s)

    def _try_once(self, url, target, verify, mirrors_left):
        waiting_since = self._clock()
        stall_s = min(self.limits.stall_s, self._patience_s / 2)
        answer_s = min(stall_s, self._patience_s / mirrors_left)
        try:
            with self._answer(url, answer_s=answer_s, stall_s=stall_s) as response:
                total = _check_headers(response, self.limits.max_bytes)
                shown = task_progress(target.name, total, amount=_megabytes, unit=" MB")
                with replacing(target) as (stream, part), shown as show:
                    received, head = 0, b""
                    waiting_since = self._clock()
                    for chunk in _body(response):
                        received += len(chunk)
                        head = head or chunk[:16]
                        if received > self.limits.max_bytes:
                            raise _MirrorFailed(f"more than {self.limits.max_bytes} bytes")
                        stream.write(chunk)
                        show(received)
                        waiting_since = self._clock()
                    if total is not None and received < total:
                        raise _MayPass(f"cut off after {received} of {total} bytes")
                    stream.flush()
                    try:
                        verify(part)
                    except DataError as error:
                        raise _MirrorFailed(
                            f"not the published file ({received} bytes that start with {head!r})"
                        ) from error
        except _MirrorFailed:
            # Data that arrived slowly count only by the silence at their end.
            self._patience_s -= min(self._clock() - waiting_since, stall_s)
            raise

    @contextlib.contextmanager
    def _answer(self, url, *, answer_s, stall_s):
        """The response after its headers have arrived, always within ``answer_s``.

        A thread waits for it: no timeout of requests limits the look-up of a host name, the number
        of a host's addresses or headers that arrive slowly.
        """
        import requests

        answer: futures.Future[requests.Response] = futures.Future()

        def ask():
            with requests.Session() as session:
                session.max_redirects = self.limits.redirects
                timeout = (min(self.limits.connect_s, answer_s), stall_s)
                # Otherwise a server may send the file decompressed, or compressed twice.
                headers = {"Accept-Encoding": "identity"}
                try:
                    answer.set_result(
                        session.get(url, stream=True, timeout=timeout, headers=headers)
                    )
                except Exception as error:
                    answer.set_exception(error)

        threading.Thread(target=ask, name="mnist_keras download", daemon=True).start()
        if not futures.wait([answer], timeout=answer_s).done:
            answer.add_done_callback(_close_late)
            raise _HostSilent(f"no answer within {answer_s:.2g} s")
        if answer.exception():
            raise _failure(answer.exception(), answer_s) from answer.exception()
        with contextlib.closing(answer.result()) as response:
            yield response


class _MirrorFailed(Exception):
    """This mirror does not have the file: the next one is tried."""


class _HostSilent(_MirrorFailed):
    """The host cannot be reached: it is not tried again, for any file."""


class _MayPass(_MirrorFailed):
    """A temporary failure: the same mirror is tried again."""


def _close_late(answer):
    if not answer.exception():
        answer.result().close()


def _failure(error, answer_s):
    import requests

    chain = [error]
    while chain[-1] is not None:
        chain.append(chain[-1].__cause__ or chain[-1].__context__)
    if isinstance(error, requests.TooManyRedirects):
        return _MirrorFailed("too many redirects")
    if isinstance(error, requests.Timeout):
        return _HostSilent(f"no answer within {answer_s:.2g} s")
    for cause in chain:
        if isinstance(cause, socket.gaierror):
            return _HostSilent("host name not found")
        if isinstance(cause, ConnectionRefusedError):
            return _HostSilent("connection refused")
        if isinstance(cause, ConnectionResetError):
            return _MayPass("connection reset")
    if isinstance(error, requests.exceptions.SSLError | requests.exceptions.ProxyError):
        return _HostSilent(_one_line(error))
    if isinstance(error, requests.ConnectionError):
        return _MayPass(_one_line(error))
    return _MirrorFailed(_one_line(error))


def _one_line(error):
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


def _megabytes(count):
    return f"{count / 1e6:.1f}"


def _check_headers(response, max_bytes):
    if response.status_code >= 500 or response.status_code in (408, 429):
        raise _MayPass(f"HTTP {response.status_code}")
    if response.status_code != 200:
        raise _MirrorFailed(f"HTTP {response.status_code}")
    length = response.headers.get("Content-Length", "")
    total = int(length) if length.isdecimal() else None
    if total is not None and total > max_bytes:
        raise _MirrorFailed(f"{total} bytes, more than {max_bytes}")
    return total


def _body(response):
    import urllib3

    try:
        # The raw bytes: requests would decompress a .gz that the server declares as an encoding.
        yield from response.raw.stream(_CHUNK_BYTES, decode_content=False)
    except (urllib3.exceptions.ReadTimeoutError, TimeoutError) as error:
        raise _MirrorFailed("stalled") from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _MayPass(f"cut off: {_one_line(error)}") from error


def _part_sizes(folder):
    sizes = {}
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            sizes[part.name] = part.stat().st_size
    return sizes


def tidy(folder):
    """Remove what a killed process has left in a folder, unless another one is writing there."""
    if not (os.path.exists(folder / _LOCK) or any(folder.glob(".*.part"))):
        return
    with contextlib.suppress(OSError), FileLock(folder / _LOCK):
        _remove_stale_parts(folder)


def _remove_stale_parts(folder):
    for part in folder.glob(".*.part"):
        with contextlib.suppress(OSError):
            if time.time() - part.stat().st_mtime > _STALE_PART_S:
                part.unlink()
