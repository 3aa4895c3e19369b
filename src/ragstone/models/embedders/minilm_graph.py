"""The ONNX graph of all-MiniLM-L6-v2, int8, built from the published weights.

BERT (Devlin et al., 2018) with 6 layers, 384 wide, 12 heads, then mean pooling over the
attention mask and L2 normalisation, as sentence-transformers defines this model. Weights are
int8, symmetric, with a scale for each output channel; activations are quantised while
running (ONNX Runtime's `DynamicQuantizeMatMul` and `QAttention`).

Two things differ from what a generic exporter and quantiser make, both measured:
the residual sum and its layer norm are `Add` and `LayerNormalization`, because the fused
`SkipLayerNormalization` runs scalar code on CPUs (12 to 15 % of the whole slower); and the few
activation channels that outgrow all others are scaled down before they are quantised (see
`_OUTLIERS`), which raises the lowest cosine to float32 from 0.989 to 0.994.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

DIMENSIONS = 384
MAX_TOKENS = 256
"""The model's own limit, special tokens included."""

_LAYERS = 6
_HEADS = 12
_EPSILON = 1e-12
_CONTRIB = "com.microsoft"


class _Divisors(msgspec.Struct, frozen=True):
    """By channel: of what enters a layer's attention and its two feed-forward products."""

    attention: dict[int, int]
    widen: dict[int, int]
    narrow: dict[int, int]


_OUTLIERS = (
    _Divisors(
        attention={63: 2, 99: 2},
        widen={63: 4, 99: 8, 157: 2, 267: 2, 303: 2},
        narrow={329: 2, 691: 2, 856: 8, 1170: 2},
    ),
    _Divisors(
        attention={63: 2, 99: 2, 157: 2},
        widen={63: 2, 99: 8, 157: 2, 223: 2, 267: 2, 338: 2},
        narrow={417: 2, 607: 4, 1004: 2, 1157: 2},
    ),
    _Divisors(
        attention={63: 2, 99: 2, 157: 2},
        widen={63: 2, 99: 8, 157: 2, 223: 4, 338: 2},
        narrow={218: 4, 722: 2, 1004: 4, 1265: 2},
    ),
    _Divisors(
        attention={63: 2, 99: 2, 157: 2},
        widen={63: 2, 99: 8, 157: 2, 223: 4},
        narrow={146: 2, 318: 2, 358: 4, 750: 2},
    ),
    _Divisors(
        attention={99: 2, 157: 2, 338: 2},
        widen={63: 2, 99: 4, 127: 4, 157: 2, 223: 4},
        narrow={
            122: 2,
            128: 2,
            192: 2,
            373: 2,
            446: 2,
            637: 2,
            682: 2,
            918: 2,
            1089: 2,
            1097: 2,
            1257: 2,
            1321: 2,
            1357: 2,
        },
    ),
    _Divisors(
        attention={99: 2, 157: 2},
        widen={99: 4, 127: 2, 223: 4, 319: 2},
        narrow={256: 2, 499: 2, 830: 2, 1300: 2, 1302: 2},
    ),
)
"""Of each layer, every channel whose largest value is well above 4.

In the first token a handful of channels reach 10 to 30 where the median channel's largest
value is 2, in every text (measured on 264 questions and catalogue entries); one scale for
the tensor then leaves the rest few of the 256 steps. Dividing such a channel and multiplying
its weights by as much changes nothing but the rounding (SmoothQuant, Xiao et al., 2022).
Powers of two, so that the scaling itself is exact.
"""

Array = NDArray[Any]


def build_graph(weights: Mapping[str, Array], *, weight_bits: int = 8) -> bytes:
    """The serialised model.

    Inputs `input_ids` and `attention_mask`, int64 [batch, length]; output `embedding`,
    float32 [batch, 384], unit length. `weights` are the tensors of the published file by name.
    `weight_bits` 7 halves the weights' range: on x86 without VNNI, int8 products are summed in
    pairs in 16 bits, and 8 bits of weight would overflow them.
    """
    if weight_bits not in (7, 8):
        raise ValueError(f"weight_bits must be 7 or 8, not {weight_bits}")
    graph = _Graph(weights, limit=127 if weight_bits == 8 else 63)
    hidden = _embeddings(graph)
    graph.node("Cast", ["attention_mask"], "mask", to=TensorProto.INT32)
    for layer in range(_LAYERS):
        hidden = _layer(graph, layer, hidden)
    _pooled(graph, hidden)
    return graph.serialised()


class _Graph:
    """Nodes and initialisers as they are added; every method returns a tensor's name."""

    def __init__(self, weights: Mapping[str, Array], *, limit: int) -> None:
        self._weights = weights
        self._limit = limit
        self._nodes: list[Any] = []
        self._constants: dict[str, Any] = {}

    def weight(self, name: str) -> Array:
        return self._weights[name]

    def constant(self, name: str, value: Array) -> str:
        if name not in self._constants:
            self._constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def node(
        self,
        operator: str,
        inputs: list[str],
        output: str,
        *,
        domain: str = "",
        **attributes: int | float,
    ) -> str:
        node = helper.make_node(operator, inputs, [output], domain=domain)
        node.attribute.extend(helper.make_attribute(key, attributes[key]) for key in attributes)
        self._nodes.append(node)
        return output

    def quantised(self, name: str, matrix: Array) -> tuple[str, str]:
        """Names of an [inputs, outputs] matrix in int8 and of its scale for each output."""
        values, scale = _symmetric(matrix, axis=0, limit=self._limit)
        return self.constant(f"{name}.weight", values), self.constant(f"{name}.scale", scale)

    def dynamically_quantised(self, source: str, name: str) -> list[str]:
        """Names of `source` in uint8, of its scale and of its zero point."""
        outputs = [f"{name}.input", f"{name}.input_scale", f"{name}.input_zero"]
        self._nodes.append(helper.make_node("DynamicQuantizeLinear", [source], outputs))
        return outputs

    def smoothed(
        self, source: str, matrix: Array, name: str, outliers: dict[int, int]
    ) -> tuple[str, Array]:
        """`source` with its outliers divided, and the matrix that makes up for it."""
        if not outliers:
            return source, matrix
        divisors = np.ones(matrix.shape[0], np.float32)
        divisors[list(outliers)] = list(outliers.values())
        factors = self.constant(f"{name}.smooth", 1 / divisors)
        return self.node("Mul", [source, factors], f"{name}.smoothed"), matrix * divisors[:, None]

    def linear(self, source: str, prefix: str, output: str, outliers: dict[int, int]) -> str:
        """`source` times the weight of `prefix`, plus its bias, with int8 operands."""
        source, matrix = self.smoothed(source, self.weight(f"{prefix}.weight").T, output, outliers)
        weight, scale = self.quantised(output, matrix)
        bias = self.constant(f"{output}.bias", self.weight(f"{prefix}.bias"))
        inputs = [source, weight, scale, "", bias]
        return self.node("DynamicQuantizeMatMul", inputs, output, domain=_CONTRIB)

    def layer_norm(self, source: str, prefix: str, output: str) -> str:
        gamma = self.constant(f"{output}.gamma", self.weight(f"{prefix}.weight"))
        beta = self.constant(f"{output}.beta", self.weight(f"{prefix}.bias"))
        inputs = [source, gamma, beta]
        return self.node("LayerNormalization", inputs, output, axis=-1, epsilon=_EPSILON)

    def serialised(self) -> bytes:
        shape = ["batch", "length"]
        graph = helper.make_graph(
            self._nodes,
            "all-MiniLM-L6-v2",
            [
                helper.make_tensor_value_info("input_ids", TensorProto.INT64, shape),
                helper.make_tensor_value_info("attention_mask", TensorProto.INT64, shape),
            ],
            [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["batch", DIMENSIONS])],
            list(self._constants.values()),
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid(_CONTRIB, 1)]
        model: onnx.ModelProto = helper.make_model(
            graph, opset_imports=opsets, ir_version=9, producer_name="ragstone"
        )
        return bytes(model.SerializeToString(deterministic=True))


def _symmetric(matrix: Array, *, axis: int, limit: int) -> tuple[Array, Array]:
    """int8 values within ±`limit` and the float32 scales, the largest along `axis` = `limit`."""
    scale = (np.abs(matrix).max(axis=axis, keepdims=True) / limit).astype(np.float32)
    scale[scale == 0] = 1
    values = np.clip(np.rint(matrix / scale), -limit, limit).astype(np.int8)
    return values, scale.squeeze(axis)


def _embeddings(graph: _Graph) -> str:
    """Word, position and (always the first) token type; the word table in int8 by row."""
    table, scale = _symmetric(graph.weight("embeddings.word_embeddings.weight"), axis=1, limit=127)
    words = graph.constant("words.weight", table)
    scales = graph.constant("words.scale", scale[:, None])
    graph.node("Gather", [words, "input_ids"], "words.int8")
    graph.node("Cast", ["words.int8"], "words.float", to=TensorProto.FLOAT)
    graph.node("Gather", [scales, "input_ids"], "words.row_scale")
    graph.node("Mul", ["words.float", "words.row_scale"], "words")

    token_type = graph.weight("embeddings.token_type_embeddings.weight")[0]
    table = graph.weight("embeddings.position_embeddings.weight")[:MAX_TOKENS] + token_type
    positions = graph.constant("positions.weight", table[None])
    zero = graph.constant("zero", np.array([0]))
    one = graph.constant("one", np.array([1]))
    graph.node("Shape", ["input_ids"], "length", start=1, end=2)
    graph.node("Slice", [positions, zero, "length", one], "positions")
    graph.node("Add", ["words", "positions"], "embedded")
    return graph.layer_norm("embedded", "embeddings.LayerNorm", "layer0.input")


def _layer(graph: _Graph, layer: int, hidden: str) -> str:
    prefix = f"encoder.layer.{layer}"
    name = f"layer{layer}"
    outliers = _OUTLIERS[layer]
    attended = _attention(
        graph, f"{prefix}.attention.self", hidden, f"{name}.attention", outliers.attention
    )
    projected = graph.linear(attended, f"{prefix}.attention.output.dense", f"{name}.projected", {})
    graph.node("Add", [projected, hidden], f"{name}.attention_sum")
    middle = graph.layer_norm(
        f"{name}.attention_sum", f"{prefix}.attention.output.LayerNorm", f"{name}.middle"
    )
    wide = graph.linear(middle, f"{prefix}.intermediate.dense", f"{name}.wide", outliers.widen)
    active = graph.node("Gelu", [wide], f"{name}.active", domain=_CONTRIB)
    narrow = graph.linear(active, f"{prefix}.output.dense", f"{name}.narrow", outliers.narrow)
    graph.node("Add", [narrow, middle], f"{name}.output_sum")
    return graph.layer_norm(
        f"{name}.output_sum", f"{prefix}.output.LayerNorm", f"layer{layer + 1}.input"
    )


def _attention(
    graph: _Graph, prefix: str, hidden: str, output: str, outliers: dict[int, int]
) -> str:
    parts = ("query", "key", "value")
    matrix = np.concatenate([graph.weight(f"{prefix}.{part}.weight").T for part in parts], axis=1)
    bias = np.concatenate([graph.weight(f"{prefix}.{part}.bias") for part in parts])
    hidden, matrix = graph.smoothed(hidden, matrix, output, outliers)
    weight, scale = graph.quantised(output, matrix)
    values, value_scale, value_zero = graph.dynamically_quantised(hidden, output)
    inputs = [
        values,
        weight,
        graph.constant(f"{output}.bias", bias),
        value_scale,
        scale,
        "mask",
        value_zero,
        graph.constant("weight_zero_point", np.zeros((), np.int8)),
    ]
    return graph.node("QAttention", inputs, output, domain=_CONTRIB, num_heads=_HEADS)


def _pooled(graph: _Graph, hidden: str) -> None:
    """The sum over unmasked tokens, made unit length: the mean's divisor would cancel."""
    one = graph.constant("one", np.array([1]))
    graph.node("Cast", ["attention_mask"], "mask.float", to=TensorProto.FLOAT)
    graph.node("Unsqueeze", ["mask.float", one], "mask.row")
    graph.node("MatMul", ["mask.row", hidden], "pooled.row")
    graph.node("Squeeze", ["pooled.row", one], "pooled")
    graph.node("ReduceL2", ["pooled", one], "norm", keepdims=1)
    graph.node(
        "Max", ["norm", graph.constant("least_norm", np.array([_EPSILON], np.float32))], "divisor"
    )
    graph.node("Div", ["pooled", "divisor"], "embedding")
