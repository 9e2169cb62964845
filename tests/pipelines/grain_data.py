"""Loaders of Grain, which only the pipelines that use it import."""

from tests.pipelines.pipeline import count, pipeline, rows
from tests.pipelines.tf_data import element


class Source:
    """The arrays' examples, one by one."""

    def __init__(self, arrays):
        self._arrays = arrays

    def __len__(self):
        return count(self._arrays)

    def __getitem__(self, index):
        return element(rows(self._arrays, index))


def examples(arrays, seed):
    """A MapDataset of the examples, shuffled."""
    import grain

    return grain.MapDataset.source(Source(arrays)).shuffle(seed)


@pipeline("grain MapDataset, shuffled", needs=("grain",), length_is_known=False)
def map_dataset(arrays, batch_size, seed):
    return {"x": examples(arrays, seed).batch(batch_size)}


@pipeline("grain IterDataset, repeated, steps_per_epoch that ends amid a pass", needs=("grain",))
def iter_dataset(arrays, batch_size, seed):
    data = examples(arrays, seed).repeat().batch(batch_size).to_iter_dataset()
    return {"x": data, "steps_per_epoch": 4}


@pipeline("grain IterDataset with read-ahead threads", needs=("grain",), length_is_known=False)
def read_ahead(arrays, batch_size, seed):
    import grain

    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=8)
    return {"x": examples(arrays, seed).batch(batch_size).to_iter_dataset(options)}


@pipeline("grain DataLoader, shuffled, steps_per_epoch that ends amid a pass", needs=("grain",))
def data_loader(arrays, batch_size, seed):
    import grain

    sampler = grain.samplers.IndexSampler(count(arrays), shuffle=True, seed=seed, num_epochs=None)
    loader = grain.DataLoader(
        data_source=Source(arrays),
        sampler=sampler,
        operations=[grain.transforms.Batch(batch_size)],
        worker_count=0,
    )
    return {"x": loader, "steps_per_epoch": 4}
