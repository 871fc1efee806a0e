"""How products are made on a CPU: exact where it matters, and put back afterwards."""

import contextlib

import pytest
import torch

from pjap_bench import products

pytestmark = pytest.mark.skipif(not hasattr(torch.backends.mkldnn, "matmul"), reason="this torch has no switch for oneDNN")


@pytest.fixture(autouse=True)
def as_before():
    yield
    products.set_up(1)


def rounding(monkeypatch):
    """Products as a processor with AMX makes them where oneDNN may round: operands in bfloat16."""
    exact = torch.Tensor.__matmul__

    def product(left, right):
        if left.dtype == torch.float32 and torch.backends.mkldnn.matmul.fp32_precision == "bf16":
            left, right = left.bfloat16().float(), right.bfloat16().float()
        return exact(left, right)

    monkeypatch.setattr(torch.Tensor, "__matmul__", product)


def test_a_processor_that_rounds_multiplies_with_mkl(monkeypatch):
    rounding(monkeypatch)
    products.set_up(1)
    with products.large():
        assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


@pytest.mark.parametrize("outcome", [contextlib.nullcontext(), pytest.raises(KeyError)])
def test_only_large_products_are_onednns(monkeypatch, outcome):
    monkeypatch.setattr(products, "_large", "bf16")
    with outcome, products.large():
        assert torch.backends.mkldnn.matmul.fp32_precision == "bf16"
        if not isinstance(outcome, contextlib.nullcontext):
            raise KeyError
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"


def test_set_up_leaves_small_products_exact():
    products.set_up(1)
    assert torch.backends.mkldnn.matmul.fp32_precision == "ieee"
    left, right = torch.randn(2, 64, 64, generator=torch.Generator().manual_seed(0))
    assert (left @ right - (left.double() @ right.double())).abs().max() < 1e-4
