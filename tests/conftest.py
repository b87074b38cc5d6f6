import pytest
import torch


@pytest.fixture(autouse=True)
def float64_and_seed():
    """Every test computes in float64 from the same random state, and leaves torch as it found it."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
