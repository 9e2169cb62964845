"""Loaders of PyTorch and torchdata, which only the pipelines that use them import."""

import keras
import numpy as np

from tests.pipelines.pipeline import count, pipeline


def nests_no_tuples(arrays):
    """PyTorch turns tuples into lists, which Keras does not accept."""

    def is_free_of_them(part):
        if isinstance(part, dict):
            return all(map(is_free_of_them, part.values()))
        return not isinstance(part, (list, tuple))

    return all(map(is_free_of_them, arrays))


TORCH = {"needs": ("torch",), "fits": nests_no_tuples}
TORCHDATA = {**TORCH, "needs": ("torch", "torchdata")}


def examples(arrays, *, noisy=False):
    """A map-style data set of the arrays' examples, perhaps with noise drawn at each look."""
    import torch

    tensors = keras.tree.map_structure(torch.from_numpy, tuple(arrays))

    class Examples(torch.utils.data.Dataset):
        def __len__(self):
            return count(arrays)

        def __getitem__(self, index):
            return keras.tree.map_structure(lambda tensor: self._with_noise(tensor[index]), tensors)

        def _with_noise(self, part):
            if not noisy or not part.is_floating_point():
                return part
            return part + 0.1 * torch.rand(part.shape) + 0.1 * float(np.random.random())

    return Examples()


@pipeline("torch DataLoader, in order", **TORCH)
def in_order(arrays, batch_size, seed):
    import torch

    return {"x": torch.utils.data.DataLoader(examples(arrays), batch_size)}


@pipeline("torch DataLoader, shuffled with a generator", **TORCH)
def shuffled(arrays, batch_size, seed):
    import torch

    source = torch.Generator().manual_seed(seed)
    loader = torch.utils.data.DataLoader(
        examples(arrays), batch_size, shuffle=True, generator=source
    )
    return {"x": loader}


@pipeline("torch DataLoader, shuffled after torch.manual_seed", **TORCH)
def seeded_globally(arrays, batch_size, seed):
    import torch

    torch.manual_seed(seed)
    return {"x": torch.utils.data.DataLoader(examples(arrays), batch_size, shuffle=True)}


@pipeline("torch DataLoader, shuffled, no seed set", **TORCH, is_seeded=False)
def unseeded(arrays, batch_size, seed):
    import torch

    torch.seed()
    return {"x": torch.utils.data.DataLoader(examples(arrays), batch_size, shuffle=True)}


@pipeline("torchdata StatefulDataLoader, shuffled with a generator", **TORCHDATA)
def stateful(arrays, batch_size, seed):
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader

    source = torch.Generator().manual_seed(seed)
    return {"x": StatefulDataLoader(examples(arrays), batch_size, shuffle=True, generator=source)}


@pipeline("torchdata StatefulDataLoader, shuffled after torch.manual_seed", **TORCHDATA)
def stateful_by_global_seed(arrays, batch_size, seed):
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader

    torch.manual_seed(seed)
    return {"x": StatefulDataLoader(examples(arrays), batch_size, shuffle=True)}


@pipeline("torchdata StatefulDataLoader, a data set that draws for each example", **TORCHDATA)
def stateful_with_noise(arrays, batch_size, seed):
    import torch
    from torchdata.stateful_dataloader import StatefulDataLoader

    torch.manual_seed(seed)
    return {"x": StatefulDataLoader(examples(arrays, noisy=True), batch_size, shuffle=True)}


@pipeline("torch DataLoader, a data set that draws for each example", **TORCH)
def with_noise(arrays, batch_size, seed):
    import torch

    torch.manual_seed(seed)
    return {"x": torch.utils.data.DataLoader(examples(arrays, noisy=True), batch_size)}
