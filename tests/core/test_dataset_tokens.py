"""Token counts: what CLIP's own tokenizer gives."""

from __future__ import annotations

import json
from pathlib import Path

from core.dataset.tokens import count_tokens

CAPTIONS = json.loads((Path(__file__).parents[1] / "data" / "clip" / "token_counts.json").read_text("utf-8"))


def test_every_recorded_caption_has_its_count() -> None:
    """The token count beside a caption is the one that the trainer's tokenizer makes, for all 500 captions."""
    assert len(CAPTIONS) == 500
    wrong = [
        (caption["text"], caption["tokens"], got)
        for caption in CAPTIONS
        if (got := count_tokens(caption["text"])) != caption["tokens"]
    ]
    assert wrong == []


def test_hostile_text_is_counted_too() -> None:
    """Control characters, lone surrogates and special tokens do not stop the count."""
    assert count_tokens("") == 0
    assert count_tokens("\x00\x1b[31m") == 0
    assert count_tokens("\ud800") > 0
    assert count_tokens("<|endoftext|>") == 1
    assert count_tokens("a" * 200_000) > 1000
