"""Activations harvested by a cluster are those that one process harvests, and come here."""

import numpy as np
import pytest
import torch
from cluster import loses_a_worker
from models import write_folder
from samples import seeded

from recipes import harvest

SITES = ("blocks.0.hook_mlp_out", "blocks.1.hook_resid_pre")


def test_a_cluster_that_loses_a_worker_harvests_the_same_files(tmp_path, monkeypatch):
    model = str(write_folder(tmp_path / "tiny", "Llama"))
    shards = torch.randint(0, 40, (30, 10), generator=seeded(0)).split(6)
    files = {}
    for where in ("here", "there"):
        monkeypatch.setenv("OPEN_THREADS_CACHE", str(tmp_path / where))
        if where == "there":
            with loses_a_worker(tmp_path) as address:
                harvest.harvest_apart(shards, SITES, address, model=model)
        else:
            for part in shards:
                harvest.harvest(part, SITES, model=model)
        made = sorted((tmp_path / where / "activations").rglob("*.npy"))
        files[where] = {str(path.relative_to(tmp_path / where)): path.read_bytes() for path in made}
    assert len(files["here"]) == 2 * len(SITES) * len(shards) and files["here"] == files["there"]
    monkeypatch.setattr(harvest, "run", lambda *_: pytest.fail("what is there is not harvested again"))
    assert np.load(harvest.harvest(shards[0], SITES, model=model)[SITES[0]]).shape == (6 * 9, 32)
