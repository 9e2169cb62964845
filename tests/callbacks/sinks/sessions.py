"""What a fit does with a sink."""


def write(sink, rows, *, begins):
    """Write rows, [(step, values), ...], in a session that begins at a step."""
    sink.begin(begins)
    for step, values in rows:
        sink.write(step, values)
    sink.close()
