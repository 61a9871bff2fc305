"""BLIP-2 (https://arxiv.org/abs/2301.12597): what transformers' classes lack of it."""
