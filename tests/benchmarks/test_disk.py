from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.plugins.text.summary_v2 import text_pb

from benchmarks import disk
from mnist_keras.callbacks.tensorboard import drawing
from mnist_keras.callbacks.tensorboard.event_log import EventLog


def write(logdir, *, epochs):
    log = EventLog(logdir, step=0)
    log.graph(".", GraphDef(), 0)
    log.summary(".", text_pb("recipe", "short"), 0)
    for epoch in range(epochs):
        log.scalar("train", "loss", 0.5, epoch + 1)
    log.summary(".", drawing.image_summary("picture", drawing.note("none")), epochs)
    log.close()


def test_every_byte_is_counted_once_and_recurring_bytes_separately(tmp_path):
    write(tmp_path / "a", epochs=3)
    write(tmp_path / "b", epochs=5)
    (tmp_path / "b" / "plugins" / "profile" / "x").mkdir(parents=True)
    (tmp_path / "b" / "plugins" / "profile" / "x" / "y").write_bytes(b"12345")
    a, b = (disk.sizes(tmp_path / name) for name in "ab")
    for name, found in (("a", a), ("b", b)):
        files = [path for path in (tmp_path / name).rglob("*") if path.is_file()]
        assert sum(whole for whole, _ in found.values()) == sum(p.stat().st_size for p in files)
    assert b["profile (files)"] == (5, 0)
    assert a["text"] == b["text"]
    assert a["text"][1] == 0
    (three, again), (five, _) = a["scalars"], b["scalars"]
    assert (again, three * 5) == (three, five * 3)
    assert len(set(a["images"])) == 1, "pictures come again, though there is one set so far"


def test_the_table_shows_the_bytes_of_each_further_epoch():
    results = {"by default": {"images": (90_000, 60_000), "text": (500, 0)}}
    assert disk.table(results, epochs=30).splitlines()[2:] == [
        "| by default | images | 90.0 | 2.0 |",
        "| by default | text | 0.5 | 0 |",
        "| by default | **all** | 90.5 | 2.0 |",
    ]
