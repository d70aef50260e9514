"""Every figure of the companion, made from records alone: `base` is how, the other modules hold a chapter's each."""
from lib.plots.base import COLUMN, FIGURES, PALETTE, STYLE, WIDE, axes, figure, save, show
# Each module registers its own.
from lib.plots import (alignment, base_strength, carbon, claims, corpus, curriculum, evaluation, grid,
                       multialpaca, multilingual, phases, pretraining, sft, stability, tokenizer)
