import pytest

from mnist_keras.callbacks.sinks.tracker import TrackerSink


@pytest.fixture(autouse=True)
def patient(monkeypatch):
    """The end of a session waits for the tracker, however busy the machine is."""
    monkeypatch.setattr(TrackerSink, "patience_s", 240.0)
