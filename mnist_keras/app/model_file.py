"""A trained network as the bytes of a ``.keras`` file; equal networks give equal bytes."""

import io
import json
import pathlib
import tempfile
import zipfile

_NO_DATE = (1980, 1, 1, 0, 0, 0)


def model_file(network):
    """The bytes of the file that ``network.save("model.keras")`` writes, without its dates.

    ``keras.models.load_model`` opens the file. The dates are left out so that two runs with the
    same final network write the same file.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "model.keras")
        network.save(path)
        written = io.BytesIO()
        with zipfile.ZipFile(path) as dated, zipfile.ZipFile(written, "w") as dateless:
            for name in dated.namelist():
                data = dated.read(name)
                if name == "metadata.json":
                    metadata = json.loads(data)
                    metadata.pop("date_saved", None)
                    data = json.dumps(metadata).encode()
                dateless.writestr(zipfile.ZipInfo(name, _NO_DATE), data)
    return written.getvalue()
