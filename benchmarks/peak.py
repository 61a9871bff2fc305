"""How near to the fastest that a device multiplies: beside a large product, and its data sheet."""

import re
import time
from typing import Any

import torch
from torch import nn

from benchmarks.blip2 import rand
from lakesight.models.packed import pack

SIDE, ROWS, PRODUCTS = 4096, 4096, 8
"""Of the product that stands for the fastest that a machine multiplies."""
PEAKS = {
    "H200": 989.5,
    "H100 PCIe": 756.0,
    "H100 NVL": 835.0,
    "H100": 989.5,
    "A100": 312.0,
    "L40S": 362.0,
    "L4": 121.0,
}
"""TFLOP/s in bfloat16, dense, by NVIDIA's data sheets; the first words that a card's name has."""


def shares(rates: dict[str, float], model: Any) -> dict[str, Any]:
    """Return the operations a second, and their share of what the device can do."""
    product = product_rate(model)
    found: dict[str, Any] = {
        "tflop_s": {name: round(rate / 1e12, 3) for name, rate in rates.items()},
        "tflop_s_of_a_large_product": round(product / 1e12, 3),
        "share_of_that": {name: round(rate / product, 3) for name, rate in rates.items()},
    }
    peak = peak_of(device_name(model.device))
    if peak is not None and model.dtype == torch.bfloat16:
        found["share_of_peak"] = {name: round(r / 1e12 / peak, 4) for name, r in rates.items()}
    return found


def peak_of(card: str) -> float | None:
    """Return a card's TFLOP/s by its name; None of a part of one, and of one that is not known."""
    if "MIG" in card:
        return None
    named = (peak for name, peak in PEAKS.items() if re.search(rf"\b{name}\b", card))
    return next(named, None)


@torch.inference_mode()
def product_rate(model: Any) -> float:
    """Return the operations a second of a large layer, on the model's device and in its dtype."""
    with torch.device("meta"):
        layer = nn.Sequential(nn.Linear(SIDE, SIDE, bias=False, dtype=model.dtype))
    layer = pack(rand(layer, model.device))
    given = torch.randn(ROWS, SIDE, device=model.device, dtype=model.dtype)
    best = float("inf")
    for _ in range(PRODUCTS):
        began = time.perf_counter()
        layer(given)[0, 0].item()  # waits for the GPU
        best = min(best, time.perf_counter() - began)
    return 2 * ROWS * SIDE**2 / best


def device_name(device: torch.device) -> str:
    """Return what the GPU is called, or that it is none."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
