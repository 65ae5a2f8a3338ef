#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Writes the text part of a shape as GGUF with random weights, for llama.cpp, which has no use for our checkpoints.

    bench/peers/gguf_model.py qwen2.5-vl-3b 4bit OUT.gguf

bf16 becomes BF16, 8bit Q8_0, 4bit Q4_0: every matrix, embedding and head included, as the affine checkpoints have it. Blocks are drawn once and
cut from a rotating place; scales are such that activations stay of ordinary size. There is no vocabulary: the benchmark feeds ids. Needs `gguf` (PyPI);
memory stays at some dozens of MiB whatever the size."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
from gguf import GGMLQuantizationType, GGUFWriter

import shapes

ARCHITECTURES = {"llama": "llama", "gemma": "gemma", "qwen2_5_vl": "qwen2vl"}
BASE = 1 << 22  # weights drawn
BLOCK = 32  # weights of a Q8_0 or Q4_0 block, which is a float16 scale and packed values
TYPES = {
    "bf16": (GGMLQuantizationType.BF16, 2 * BLOCK, 32),
    "8bit": (GGMLQuantizationType.Q8_0, 2 + BLOCK, 7),
    "4bit": (GGMLQuantizationType.Q4_0, 2 + BLOCK // 2, 2),
}  # type, bytes of 32 weights, file type of the metadata


def draw(form: str, std: float) -> bytes:
    """BASE weights of about this standard deviation, packed."""
    random = np.random.Generator(np.random.PCG64(1))
    if form == "bf16":
        values = random.standard_normal(BASE, dtype=np.float32) * np.float32(std)
        return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
    packed = BLOCK if form == "8bit" else BLOCK // 2
    spread = 73.6 if form == "8bit" else 4.6  # of uniform values in -127..127 and -8..7
    blocks = np.empty((BASE // BLOCK, 2 + packed), np.uint8)
    scales = (std / spread * random.uniform(0.5, 1.5, BASE // BLOCK)).astype(np.float16)
    blocks[:, :2] = scales.view(np.uint8).reshape(-1, 2)
    blocks[:, 2:] = random.integers(0, 256, (BASE // BLOCK, packed), np.uint8)
    if form == "8bit":
        blocks[:, 2:][blocks[:, 2:] == 128] = 127  # -128 is not used by the format
    return blocks.tobytes()


def tensors(text: shapes.Text) -> list[tuple[str, tuple[int, ...]]]:
    """Name and shape; those of one dimension are norms and biases, in float32."""
    rows: list[tuple[str, tuple[int, ...]]] = [("token_embd.weight", (text.vocab, text.hidden)), ("output_norm.weight", (text.hidden,))]
    if not text.tied:
        rows.append(("output.weight", (text.vocab, text.hidden)))
    for layer in range(text.layers):
        for name, shape in text.layer_matrices().items():
            rows.append((f"blk.{layer}.{name}.weight", shape))
            if text.kind == "qwen2_5_vl" and name in ("attn_q", "attn_k", "attn_v"):
                rows.append((f"blk.{layer}.{name}.bias", shape[:1]))
        rows += [(f"blk.{layer}.{name}_norm.weight", (text.hidden,)) for name in ("attn", "ffn")]
    return rows


def describe(writer: GGUFWriter, text: shapes.Text, form: str) -> None:
    writer.add_name(f"{text.name} text, random weights")
    writer.add_file_type(TYPES[form][2])
    writer.add_vocab_size(text.vocab)
    writer.add_context_length(32768)
    writer.add_embedding_length(text.hidden)
    writer.add_block_count(text.layers)
    writer.add_feed_forward_length(text.ffn)
    writer.add_head_count(text.heads)
    writer.add_head_count_kv(text.kv_heads)
    writer.add_key_length(text.head_dim)
    writer.add_value_length(text.head_dim)
    writer.add_rope_dimension_count(text.head_dim)
    writer.add_rope_freq_base(text.theta)
    writer.add_layer_norm_rms_eps(text.eps)
    if text.sections:
        writer.add_rope_dimension_sections([*text.sections, 0][:4])
    writer.add_tokenizer_model("no_vocab")


def write_tensor(file, shape: tuple[int, ...], name: str, bases: dict[float, bytes], form: str, start: int) -> None:
    count = int(np.prod(shape))
    if len(shape) == 1:
        values = np.full(count, 0.0 if name.endswith("bias") else 1.0, np.float32)
        file.write(values.tobytes())
        length = values.nbytes
    else:
        std = 0.02 if name.startswith("token_embd") else shape[1] ** -0.5
        if std not in bases:
            bases[std] = draw(form, std)
        base = bases[std]
        length = left = count // BLOCK * TYPES[form][1]
        at = start % (len(base) // TYPES[form][1]) * TYPES[form][1]
        while left:
            take = min(left, len(base) - at)
            file.write(memoryview(base)[at : at + take])
            left, at = left - take, 0
    file.write(bytes(-length % 32))


def write(text: shapes.Text, form: str, out: Path) -> None:
    writer = GGUFWriter(out, ARCHITECTURES[text.kind])
    describe(writer, text, form)
    kind, size, _ = TYPES[form]
    rows = tensors(text)
    for name, shape in rows:
        if len(shape) == 1:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), 4 * shape[0])
        else:
            writer.add_tensor_info(name, shape, np.dtype(np.float32), shape[0] * shape[1] // BLOCK * size, raw_dtype=kind)
    writer.write_header_to_file(out)
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    file = writer.fout[0]
    file.write(bytes(-file.tell() % 32))
    bases: dict[float, bytes] = {}
    for index, (name, shape) in enumerate(rows):
        write_tensor(file, shape, name, bases, form, index * 7919)
    writer.close()


def write_file(shape: str, form: str, out: Path) -> None:
    partial = out.with_suffix(".partial")
    write(shapes.read(shape), form, partial)
    partial.rename(out)
    print(f"{out}: {out.stat().st_size / 1e6:.0f} MB", file=sys.stderr)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=shapes.names())
    parser.add_argument("format", choices=TYPES)
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    write_file(args.shape, args.format, args.out)


if __name__ == "__main__":
    main()
