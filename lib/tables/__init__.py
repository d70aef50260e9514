"""Every table of the companion, made from records alone: `base` is how, the other modules hold a chapter's each."""
from lib.tables.base import TABLES, Exhibit, Lacking, interval, reported, save, show, span, table
# Each module registers its own.
from lib.tables import (alignment, base_strength, benchmarks, carbon, claims, corpus, curriculum, evaluation, grid,
                        multialpaca, multilingual, paper, phases, pretraining, sft, stability, tokenizer)
