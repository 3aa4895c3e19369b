"""What a question consumed."""

import msgspec


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens consumed, by kind. Counts come from the provider where it gives them."""

    input_tokens: int = 0
    output_tokens: int = 0
    cached_input_tokens: int = 0
    """Part of `input_tokens` that the provider served from its prompt cache."""
    embedding_tokens: int = 0
    estimated: bool = False
    """True when the provider gave no count and ours stands in."""

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            cached_input_tokens=self.cached_input_tokens + other.cached_input_tokens,
            embedding_tokens=self.embedding_tokens + other.embedding_tokens,
            estimated=self.estimated or other.estimated,
        )
