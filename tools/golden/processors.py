# SPDX-License-Identifier: MIT
"""What transformers' processors return, of both image backends: `python -m golden.processors` in tools/ writes tests/data/processors.txt;
with names of variants or families, their lines alone are made anew.

Over the tiny checkpoints of tests/golden, with edits of their image processor's config (`edit VARIANT SETTING FILE PATH JSON`), a line is
VARIANT SETTING BACKEND MEDIA... | NAME=DTYPE:SHAPE:HASH[:VALUES]
MEDIA: pictures and `video:CLIP`, `frames:FOLDER@FPS` below tests/data, in the order of the prompt, pictures first; then comes "Describe."
HASH: the first 16 digits of SHA-256 over the little-endian tensor. VALUES: of pixels, those at the places 0, n/3, n/2 and n-1.
Backends: pillow, torchvision, and torchvision-bicubic, which is transformers with a torchvision before 0.27 (bicubic for Lanczos).
Video processors exist for torchvision only; pillow is their arithmetic with the Pillow image processor's (docs/REFERENCE.md).
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoImageProcessor, AutoProcessor, image_processing_backends
from transformers.image_utils import load_image
from transformers.utils import logging
from transformers.video_utils import VideoMetadata

from . import pictures
from .common import DTYPES, IMAGE, PICTURES, ROOT, VIDEO, Variant, user, write_json
from .make import variants
from .video import decoded

DATA = ROOT / "tests" / "data"
PROMPTS = [  # wide, tall, small, large, turned, with alpha, of a palette, grey, CMYK; alone and several, some of them twice
    ["pictures/landscape.jpg"],
    ["pictures/portrait.png", "pictures/tiny.png"],
    ["pictures/wide.jpg", "pictures/tall.jpg", "pictures/turned.jpg"],
    ["media/photos/hibiscus.regular.lossy.webp"],
    ["media/photos/testorig.jpg", "media/photos/bricks-dither.gif", "media/photos/testorig.jpg"],
    ["media/photos/hopper-8.jpg", "media/orientation-5.jpg", "media/rgba.png", "media/cmyk.jpg"],
    ["media/grey-16.png"],
]
FEW = [["pictures/photo.jpg"], ["pictures/palette.png", "pictures/tall.jpg"]]
CLIPS = [
    ["frames:pictures/frames-five@2.0"],
    ["video:video/h264.mp4"],
    ["video:video/turned-90.mov"],
    ["frames:pictures/frames-five@2.0", "frames:pictures/frames-four@1.0"],
]
MIXED = ["pictures/wide.jpg", "frames:pictures/frames-four@4.0"]
LARGEST = "largest-frames"
NORMALISATIONS = {
    "unscaled": {"do_rescale": False},
    "unnormalised": {"do_normalize": False},
    "imagenet": {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225], "rescale_factor": 1 / 254},
}


SQUARE_336 = {"height": 336, "width": 336}
PINPOINTS_336 = [[336, 672], [672, 336], [672, 672], [1008, 336], [336, 1008]]

# The sizes of published checkpoints, by variant or family.
PUBLISHED = {
    "idefics3-split": {"size": {"longest_edge": 4 * 364}, "max_image_size": {"longest_edge": 364}},
    "idefics3": {"size": {"longest_edge": 4 * 512}, "max_image_size": {"longest_edge": 512}},
    "paligemma": {"size": {"height": 448, "width": 448}},
    "qwen2_5_vl-tied": {"min_pixels": 3136, "max_pixels": 12845056},
    "qwen2_5_vl": {"size": {"shortest_edge": 3136, "longest_edge": 12845056}},
    "qwen2_vl": {"min_pixels": 3136, "max_pixels": 12845056},
    "qwen3_vl": {"size": {"shortest_edge": 65536, "longest_edge": 16777216}},
    "glm_ocr": {"size": {"shortest_edge": 12544, "longest_edge": 9633792}},
    "gemma3": {"size": {"height": 896, "width": 896}},
    "pixtral": {"size": {"longest_edge": 1024}},
    "mistral3": {"size": {"longest_edge": 1540}},
    "llava-clip": {"size": {"shortest_edge": 336}, "crop_size": {"height": 336, "width": 336}},
    "llava-siglip": {"size": {"height": 384, "width": 384}},
    "llava_next-mistral": {"size": {"shortest_edge": 336}, "crop_size": SQUARE_336, "image_grid_pinpoints": PINPOINTS_336},
    "llava_next-llama": {"size": SQUARE_336, "crop_size": SQUARE_336, "image_grid_pinpoints": PINPOINTS_336},
    "llava_bunny": {"size": {"height": 384, "width": 384}},
    "fastvlm": {"size": {"shortest_edge": 1024}, "crop_size": {"height": 1024, "width": 1024}},
    "lfm2_vl": {"encoder_patch_size": 16, "tile_size": 512, "min_image_tokens": 64, "max_image_tokens": 256, "max_tiles": 10},
}
# Settings beyond those that all have.
OTHERS = {
    "smolvlm-video": {LARGEST: {"size": {"longest_edge": 5001}}},  # above the 4096 that bound it
    "gemma3": {"scanned": {"do_pan_and_scan": True}},
    "llava-clip": {"cropped": {"size": {"shortest_edge": 61}}, "padded": {"size": {"shortest_edge": 37}}},
    "llava-siglip": {"filled": {"do_pad": False}},
    "lfm2_vl": {"alone": {"do_image_splitting": False}, "bare": {"use_thumbnail": False}},
}
# The first families try every filter and normalisation; for those that share their code, a few settings and prompts do.
THOROUGH = ("idefics3", "paligemma", "qwen2_5_vl")
# Families that choose the frames of a file in a way of their own.
SAMPLING = ("qwen3_vl", "glm_ocr")
# Families, or variants, whose messages show pictures behind the text (docs/TEXT.md).
BEHIND = ("gemma3", "pixtral-llava", "qwen2_vl", "llava", "llava_next", "fastvlm-timm")


def of(table: dict, variant: Variant) -> dict:
    return table.get(variant.name, table.get(variant.family, {}))


def settings(variant: Variant) -> dict[str, dict]:
    """Edits of the image processor's config: the size of published checkpoints, other filters, other normalisations; or of the video processor's."""
    found = {"own": {}, "published": of(PUBLISHED, variant), "nearest": {"resample": 0}}
    if variant.family in THOROUGH:
        found |= {"bilinear": {"resample": 2}, **NORMALISATIONS}
    return found | of(OTHERS, variant)


def place(variant: Variant, setting: str) -> tuple[str, str]:
    """File and path of the config that a setting edits."""
    if setting == LARGEST:
        return "processor_config.json", "video_processor/"
    flat = (variant.folder / "preprocessor_config.json").exists()
    return ("preprocessor_config.json", "") if flat else ("processor_config.json", "image_processor/")


def write_edited(variant: Variant, setting: str, edits: dict, folder: Path) -> None:
    shutil.copytree(variant.folder, folder, dirs_exist_ok=True)
    name, path = place(variant, setting)
    whole = json.loads((folder / name).read_text())
    (whole[path[:-1]] if path else whole).update(edits)
    write_json(folder / name, whole)


def load(variant: Variant, backend: str, folder: Path):
    if variant.load_processor:
        return variant.load_processor(variant, folder, "pil" if backend == "pillow" else "torchvision")
    processor = AutoProcessor.from_pretrained(folder)
    if backend == "pillow":
        if variant.pil:
            processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        if variant.processor_patch:
            variant.processor_patch(processor)
    ending = "ProcessorPil" if backend == "pillow" and variant.pil else "Processor"
    assert type(processor.image_processor).__name__.endswith(ending), type(processor.image_processor)
    # what decides whether Lanczos is replaced
    image_processing_backends.is_torchvision_greater_or_equal = lambda version: backend != "torchvision-bicubic"
    return processor


def load_video(word: str):
    """Frames, what is known of them, and whether frames are still to be chosen."""
    kind, _, name = word.partition(":")
    if kind == "video":
        frames, rate, duration = decoded(DATA / name)
        return frames, VideoMetadata(total_num_frames=len(frames), fps=rate, duration=duration), True
    name, _, fps = name.partition("@")
    frames = np.stack([np.asarray(load_image(str(path))) for path in sorted((DATA / name).iterdir())])
    n, fps = len(frames), float(fps)
    return frames, VideoMetadata(total_num_frames=n, fps=fps, duration=n / fps, frames_indices=list(range(n))), False


def run(variant: Variant, processor, media: list[str]) -> dict[str, torch.Tensor]:
    videos = [load_video(word) for word in media if ":" in word]
    images = [load_image(str(DATA / word)) for word in media if ":" not in word]
    options: dict = {"images": images} if images else {}
    if videos:
        frames = [video[0] for video in videos]
        smol = variant.family == "idefics3"
        options |= {"videos": [frames] if smol else frames, "video_metadata": [video[1] for video in videos], "do_sample_frames": videos[0][2]}
        if videos[0][2]:
            options |= {"fps": 1, "num_frames": 64} if smol else {"fps": 2.0, "max_frames": 768}
    if getattr(processor.image_processor, "do_pan_and_scan", None):
        options["do_pan_and_scan"] = True  # the processor class would hand its own default over the config's
    if variant.family == "paligemma":
        text = "<image>" * len(images) + "Describe."
    else:
        media = [*[IMAGE] * len(images), *[VIDEO] * len(videos)]
        behind = (variant.name in BEHIND or variant.family in BEHIND) and not videos
        message = user("Describe.", *media) if behind else user(*media, "Describe.")
        text = processor.apply_chat_template([message], add_generation_prompt=True, tokenize=False)
        if processor.tokenizer.bos_token and text.startswith(processor.tokenizer.bos_token):
            options["add_special_tokens"] = False  # as apply_chat_template has it when it tokenizes
    batch = variant.shown(processor(text=text, return_tensors="pt", **options))
    return {name: value for name, value in sorted(batch.items()) if isinstance(value, torch.Tensor) and name != "labels"}


def describe(name: str, value: torch.Tensor) -> str:
    flat = value.contiguous().flatten()
    words = [DTYPES[value.dtype], "x".join(map(str, value.shape)), hashlib.sha256(flat.numpy().tobytes()).hexdigest()[:16]]
    if name.startswith("pixel_values"):
        n = flat.numel()
        words.append(",".join(f"{float(flat[i]):.9g}" for i in (0, n // 3, n // 2, n - 1)))
    return f"{name}={':'.join(words)}"


def prompts(variant: Variant, setting: str) -> list[list[str]]:
    video = variant.processor_patch is not None and variant.pil  # whose patch is of videos
    if setting != "own" and variant.family == "llava_bunny":
        return FEW[:1]
    if setting != "own":
        return [CLIPS[-1][1:]] if setting == LARGEST else [PROMPTS[0], *FEW] if setting == "scanned" else FEW
    if variant.family == "llava_bunny":  # one picture at a time
        return [media for media in PROMPTS if len(media) == 1]
    if variant.family not in THOROUGH:
        return [*PROMPTS[:3], *PROMPTS[4:6], *(CLIPS[: 3 if variant.family in SAMPLING else 1] if video else [])]
    clips = CLIPS if video else []
    return PROMPTS + clips + ([MIXED] if video and variant.family == "qwen2_5_vl" else [])


def kept(wanted: list[str]) -> dict[str, list[str]]:
    """The lines of the file by variant."""
    found: dict[str, list[str]] = {}
    for line in (DATA / "processors.txt").read_text().splitlines() if wanted else []:
        words = line.split(maxsplit=2)
        found.setdefault(words[1] if words[0] == "edit" else words[0], []).append(line)
    return found


def main(wanted: list[str]) -> None:
    torch.set_num_threads(1)
    logging.set_verbosity_error()
    pictures.make(ROOT / PICTURES)
    old, text = kept(wanted), []
    for variant in variants([]):
        if not of(PUBLISHED, variant):
            continue
        if wanted and variant.name not in wanted and variant.family not in wanted:
            text += old.get(variant.name, [])
            continue
        lines = []
        for setting, edits in settings(variant).items():
            name, path = place(variant, setting)
            lines += [f"edit {variant.name} {setting} {name} {path}{key} {json.dumps(value)}" for key, value in edits.items()]
            backends = ["torchvision"] if setting == LARGEST else ["pillow", "torchvision"]
            if variant.family == "idefics3" and setting in ("own", "published"):
                backends.append("torchvision-bicubic")
            for backend in backends:
                with tempfile.TemporaryDirectory() as folder:
                    write_edited(variant, setting, edits, Path(folder))
                    processor = load(variant, backend, Path(folder))
                    for media in prompts(variant, setting):
                        tensors = run(variant, processor, media)
                        words = " ".join(describe(key, value) for key, value in tensors.items())
                        lines.append(f"{variant.name} {setting} {backend} {' '.join(media)} | {words}")
            print(variant.name, setting, file=sys.stderr, flush=True)
        text += lines
    (DATA / "processors.txt").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
