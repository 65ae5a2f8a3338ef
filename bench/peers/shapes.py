# SPDX-License-Identifier: MIT
"""The text part of a shape that peers are measured with, read from its published config in tools/configs: sizes, and the matrices a token passes.

Formats are named by what one weight costs: bf16; 8bit and 4bit are MLX's affine groups of 64 with two 16-bit numbers each, 8.5 and 4.5 bits, which
is what llama.cpp's Q8_0 and Q4_0 take as well."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

CONFIGS = Path(__file__).resolve().parents[2] / "tools" / "configs"
BITS = {"bf16": 16.0, "8bit": 8.5, "4bit": 4.5}


@dataclass(frozen=True)
class Text:
    name: str
    kind: str  # llama, gemma, qwen2_5_vl
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool
    theta: float
    eps: float
    sections: tuple[int, ...]  # of multimodal rotary positions

    def layer_matrices(self) -> dict[str, tuple[int, int]]:
        """Output and input width of a layer's products."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "attn_q": (queries, self.hidden),
            "attn_k": (keys, self.hidden),
            "attn_v": (keys, self.hidden),
            "attn_output": (self.hidden, queries),
            "ffn_gate": (self.ffn, self.hidden),
            "ffn_up": (self.ffn, self.hidden),
            "ffn_down": (self.hidden, self.ffn),
        }

    def layer_weights(self) -> int:
        return self.layers * sum(rows * columns for rows, columns in self.layer_matrices().values())

    def token_bytes(self, form: str) -> float:
        """Weight bytes that one decoded token touches: every layer and the head."""
        return (self.layer_weights() + self.vocab * self.hidden) * BITS[form] / 8

    def prompt_flops(self, tokens: int) -> float:
        """Multiplications and additions of a prompt's products; the head works for its last token, attention is left out."""
        return 2.0 * (self.layer_weights() * tokens + self.vocab * self.hidden)


def names() -> list[str]:
    return sorted(path.parent.name for path in CONFIGS.glob("*/config.json"))


def read(name: str) -> Text:
    path = CONFIGS / name / "config.json"
    if not path.exists():
        raise SystemExit(f"{name}: no such shape; there are {', '.join(names())}")
    config = json.loads(path.read_text())
    text = config.get("text_config", config)
    kind = text["model_type"]
    heads = text["num_attention_heads"]
    tied = text.get("tie_word_embeddings", config.get("tie_word_embeddings", kind == "gemma"))
    return Text(
        name=name,
        kind=kind,
        layers=text["num_hidden_layers"],
        hidden=text["hidden_size"],
        ffn=text["intermediate_size"],
        heads=heads,
        kv_heads=text.get("num_key_value_heads", heads),
        head_dim=text.get("head_dim") or (256 if kind == "gemma" else text["hidden_size"] // heads),
        vocab=text["vocab_size"],
        tied=bool(tied),
        theta=text.get("rope_theta", 10000.0),
        eps=text.get("rms_norm_eps", 1e-6),
        sections=tuple((text.get("rope_scaling") or {}).get("mrope_section", ())),
    )
