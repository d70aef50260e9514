"""The shape of a Llama-like decoder, and how many parameters it and its adapters have, by formula."""
from typing import NamedTuple


class Architecture(NamedTuple):
    """Decoder blocks, widths and rows: `inner` is the feed-forward's, `keys` that of keys and of values."""

    layers: int
    hidden: int
    inner: int
    vocabulary: int
    keys: int | None = None  # None: as wide as the queries, as without grouped-query attention

    def projections(self) -> dict[str, tuple[int, int]]:
        """Name → (inputs, outputs) of the linear layers of one block."""
        hidden, inner, keys = self.hidden, self.inner, self.keys or self.hidden
        return {"q": (hidden, hidden), "k": (hidden, keys), "v": (hidden, keys), "o": (hidden, hidden),
                "gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden)}

    def matrices(self) -> int:
        """Parameters of embeddings and head, untied: two matrices of vocabulary × hidden."""
        return 2 * self.vocabulary * self.hidden

    def parameters(self) -> int:
        """All parameters: projections, two norms a block, the last norm, embeddings and head."""
        block = sum(inputs * outputs for inputs, outputs in self.projections().values()) + 2 * self.hidden
        return self.layers * block + self.hidden + self.matrices()

    def lora(self, rank: int, targets=None) -> int:
        """Parameters of LoRA (Hu et al. 2021): rank × (inputs + outputs) a projection; `targets` defaults to all."""
        chosen = self.projections()
        return self.layers * rank * sum(sum(chosen[name]) for name in targets or chosen)
