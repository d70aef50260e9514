"""Every table of the companion, made from records alone: `base` is how, the other modules hold a chapter's each."""
from lib.tables.base import TABLES, Exhibit, interval, reported, save, show, span, table
from lib.tables import alignment, carbon, corpus, evaluation, paper, pretraining, sft, tokenizer  # each registers its own
