# SPDX-License-Identifier: MIT
"""Pillow and transformers' image processors for bench_media, which asks for one piece of work at a time and waits for it, so that both sides
are timed in turns: `python media.py PROCESSORS` reads lines from standard input and answers each with `SECONDS CPU_SECONDS DIGEST`.

    decode PATH                    the photo that resizes are made of; nothing is timed
    resize WIDTH HEIGHT FILTER     Pillow's Image.resize, FILTER its number
    smolvlm BACKEND PATH           decoding, EXIF orientation and the image processor: pil, torchvision
    qwen2_5_vl BACKEND PATH MAX_PIXELS

A line may begin with `threads N` (torch's) and with `digest`: else the digest is `-`. At the end of its input the program tells how much memory
it held, in KiB: at the start, its modules loaded, and at most.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from transformers.image_utils import load_image
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil
from transformers.models.smolvlm.image_processing_smolvlm import SmolVLMImageProcessor

CLASSES = {
    "smolvlm": {"pil": SmolVLMImageProcessorPil, "torchvision": SmolVLMImageProcessor},
    "qwen2_5_vl": {"pil": Qwen2VLImageProcessorPil, "torchvision": Qwen2VLImageProcessor},
}


def held(field: str) -> int:
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[field].split()[0])


def settings(folder: Path, family: str) -> dict:
    config = json.loads((folder / f"{family}.json").read_text())
    config = config.get("image_processor", config)
    return {key: value for key, value in config.items() if key not in ("image_processor_type", "processor_class", "image_seq_len")}


def process(folder: Path, family: str, backend: str, path: str, *budget: str):
    """What is timed, made beforehand; and what of its result counts."""
    options = settings(folder, family) | ({"max_pixels": int(budget[0])} if budget else {})
    processor = CLASSES[family][backend](**options)
    # The Pillow backend makes numpy's arrays, the other one torch's.
    kind = "np" if backend == "pil" else "pt"
    return lambda: processor(images=[load_image(path)], return_tensors=kind)


def arrays(result) -> list[np.ndarray]:
    if isinstance(result, Image.Image):
        return [np.asarray(result)]
    named = [np.asarray(result[name]) for name in ("pixel_values", "pixel_attention_mask", "image_grid_thw") if name in result]
    return [a.astype(np.float32 if a.dtype.kind == "f" else np.int64, copy=False) for a in named]


def digest(result) -> str:
    sha = hashlib.sha256()
    for array in arrays(result):
        sha.update(np.ascontiguousarray(array).data)
    return sha.hexdigest()[:16]


def main() -> None:
    folder, photo, ready, start = Path(sys.argv[1]), None, {}, held("VmRSS")
    for line in sys.stdin:
        words, wants_digest = line.split(), False
        if words[0] == "threads":
            torch.set_num_threads(int(words[1]))
            words = words[2:]
        if words[0] == "digest":
            wants_digest, words = True, words[1:]
        key, what = tuple(words), words[0]
        if what == "decode":
            photo = load_image(words[1])
            print("0 0 -", flush=True)
            continue
        if key not in ready:
            width, height, number = map(int, words[1:]) if what == "resize" else (0, 0, 0)
            ready[key] = (lambda: photo.resize((width, height), number)) if what == "resize" else process(folder, what, *words[1:])
        wall, cpu = time.perf_counter(), time.process_time()
        result = ready[key]()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        print(wall, cpu, digest(result) if wants_digest else "-", flush=True)
        del result
    print(start, held("VmHWM"), flush=True)


if __name__ == "__main__":
    main()
