"""The same seed gives the same weights, bit for bit: twice, in two threads, and when a run is cut and goes on.

Sizes are such that torch splits the work between threads; smaller ones would agree whatever was written. Torch's own
deterministic mode is off here, as it is for users: it would repair the very fault that is looked for.
"""

import pytest
import torch
from samples import seeded

from helpers.sae import ARCHITECTURES, Active, Dense, Mixed, NeighbourCosine, RescaleShift, build, train

D_MODEL, D_SAE, BATCH, STEPS = 64, 640, 256, 6
PENALTIES = {
    "none": None,
    "mean_square": "mean_square",
    "max": "max",
    "chunk_max": "chunk_max",
    "neighbour": NeighbourCosine(),
    "neighbour, absolute": NeighbourCosine(absolute=True),
}


@pytest.fixture(autouse=True)
def two_threads_and_no_help_from_torch():
    threads, mode = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    torch.set_num_threads(2)
    torch.use_deterministic_algorithms(False)
    yield
    torch.use_deterministic_algorithms(mode)
    torch.set_num_threads(threads)


def batches(step):
    return torch.randn(BATCH, D_MODEL, generator=seeded(1000 + step))


def fresh(architecture, penalty):
    hyper = {"orthogonality": 1.0, "penalty": penalty} if penalty else {}
    if architecture == "rescale_shift":
        return RescaleShift.of(build("standard", D_MODEL, D_SAE, generator=seeded(), sparsity=0.3, **hyper))
    own = {"k": 8, "dead_after": 2 * BATCH} if "k" in ARCHITECTURES[architecture].defaults else {"sparsity": 0.3}
    return build(architecture, D_MODEL, D_SAE, generator=seeded(), **own, **hyper)


class Cut(Exception):
    pass


def trained(architecture, penalty, view, checkpoint=None, cut=None):
    """State after training; with ``cut``, the run dies at that step and another goes on from its checkpoint."""
    options = {"steps": STEPS, "lr": 3e-3, "view": view, "revive_at": (3,), "progress": False}
    if cut is not None:

        def dying(step):
            if step == cut:
                raise Cut
            return batches(step)

        with pytest.raises(Cut):
            train(fresh(architecture, penalty), dying, checkpoint=checkpoint, checkpoint_every=2, **options)
    sae = fresh(architecture, penalty)
    train(sae, batches, checkpoint=checkpoint, checkpoint_every=2, **options)
    return sae.state_dict()


@pytest.mark.parametrize("view", [Dense, Mixed, Active], ids=lambda view: view.__name__)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_one_seed_is_one_dictionary(architecture, penalty, view, tmp_path):
    form = PENALTIES[penalty]
    once = trained(architecture, form, view)
    again = trained(architecture, form, view)
    resumed = trained(architecture, form, view, tmp_path / "run.safetensors", cut=5)
    for name, tensor in once.items():
        assert torch.equal(tensor, again[name]), f"{name} differs when trained twice"
        assert torch.equal(tensor, resumed[name]), f"{name} differs when the run was cut and went on"
