"""Here torch refuses operations that have no deterministic form, so that none gets into training unseen."""

import pytest
import torch


@pytest.fixture(autouse=True)
def only_deterministic_algorithms():
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)
