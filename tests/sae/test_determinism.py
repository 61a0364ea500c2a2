"""The same seed gives the same weights, bit for bit: twice, in two threads, and when a run is cut and goes on.

Sizes are such that torch splits the work between threads; smaller ones would agree whatever was written. Torch's own
deterministic mode is off here, as it is for users: it would repair the very fault that is looked for.

Whole runs of that fault agree more often than not, so two tests beside them look for it alone: one at rows of which one
is nearest to all others, whose gradient is a sum of a thousand terms; one at how gradients are added up.
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


@pytest.mark.parametrize("absolute", [False, True])
def test_a_row_that_is_nearest_to_all_has_one_gradient(absolute):
    rows = torch.randn(1024, 256, generator=seeded()) + 0.5
    rows[0] = 1.0
    penalty, seen = NeighbourCosine(mean=0, max_max=0, absolute=absolute), []
    for _ in range(12):  # where the order of threads tells, half of the gradients are others
        leaf = rows.clone().requires_grad_()
        penalty(leaf).backward()
        seen.append(leaf.grad)
    units = torch.nn.functional.normalize(rows, dim=1)
    nearest = (units @ units.T).fill_diagonal_(-2).argmax(1)
    assert (nearest == 0).sum() > 1000, "the case bites"
    assert all(torch.equal(grad, seen[0]) for grad in seen)


def steps_back(tensor):
    """The names of all steps that the gradient of ``tensor`` takes."""
    todo, names = {tensor.grad_fn}, {}
    while todo:
        step = todo.pop()
        names[step] = step.name()
        todo |= {before for before, _ in step.next_functions if before is not None} - names.keys()
    return set(names.values())


def test_indexing_is_what_adds_up_in_the_order_of_threads():
    rows, index = torch.ones(3, 2, requires_grad=True), torch.tensor([0, 0, 1])
    assert "IndexBackward0" in steps_back(rows[index].sum())
    assert "IndexBackward0" not in steps_back(rows.index_select(0, index).sum())


@pytest.mark.parametrize("view", [Dense, Mixed, Active], ids=lambda view: view.__name__)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_no_loss_reads_rows_by_indexing(architecture, penalty, view):
    sae = fresh(architecture, PENALTIES[penalty])
    sae.silent_for[:100] = 10**6  # so that dead features have a term, too
    terms = sae.losses(batches(0), view, seeded())
    assert "IndexBackward0" not in steps_back(sum(terms.values()))


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
