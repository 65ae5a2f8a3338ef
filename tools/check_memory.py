#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the memory that `vlm inspect` predicts against what `vlm generate` is seen to hold.

    tools/check_memory.py [--build build] [--seed N] [--dir DIR] [--smol N] [--qwen N] [--keep]

Runs over the bundled model and over random checkpoints of real size whose configs are drawn here (SmolVLM-like of about 250 to 500 million
parameters, Qwen2.5-VL-like of about 1 to 2 billion), with pictures, videos and prompts that are drawn, too. Prints a table; fails
when a prediction is more than 15 % away. The seed that is printed draws the same again. Needs tools/requirements.txt, ffmpeg and, for the
checkpoints, up to 5 GB of disk and of memory.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
BOUND = 0.15


# ---------------------------------------------------------------------------------------------------------------------
# What is drawn


def draw_smol(draw: random.Random) -> tuple[str, dict[str, dict]]:
    """Another SmolVLM: the published config's files with other sizes."""
    files = {path.name: json.loads(path.read_text()) for path in (ROOT / "tools/configs/smolvlm-256m").iterdir()}
    text, vision = files["config.json"]["text_config"], files["config.json"]["vision_config"]
    heads = draw.choice([9, 12, 15])
    text |= {"num_attention_heads": heads, "num_key_value_heads": heads // 3, "hidden_size": heads * 64}
    text |= {"intermediate_size": 256 * draw.randint(6, 11), "num_hidden_layers": draw.randint(24, 32)}
    vision |= {"num_hidden_layers": draw.randint(8, 14), "intermediate_size": 256 * draw.randint(8, 14)}
    files["config.json"]["tie_word_embeddings"] = draw.random() < 0.5
    files["preprocessor_config.json"]["size"]["longest_edge"] = 512 * draw.randint(1, 2)
    return "SmolVLM", files


def draw_qwen(draw: random.Random) -> tuple[str, dict[str, dict]]:
    files = {path.name: json.loads(path.read_text()) for path in (ROOT / "tools/configs/qwen2.5-vl-3b").iterdir()}
    config, vision = files["config.json"], files["config.json"]["vision_config"]
    heads = draw.choice([10, 12, 14])
    config |= {"num_attention_heads": heads, "num_key_value_heads": 2, "hidden_size": heads * 128}
    config |= {"intermediate_size": 256 * draw.randint(20, 32), "num_hidden_layers": draw.randint(16, 26)}
    config["tie_word_embeddings"] = draw.random() < 0.5
    vision |= {"depth": draw.randint(8, 16), "fullatt_block_indexes": [3, 7], "out_hidden_size": heads * 128}
    files["preprocessor_config.json"]["max_pixels"] = 28 * 28 * draw.randint(120, 250)
    return "Qwen2.5-VL", files


def draw_picture(draw: random.Random, path: Path, most: int = 1600) -> None:
    """A photograph's worth of smooth noise."""
    width, height = draw.randint(200, most), draw.randint(200, most)
    small = np.random.default_rng(draw.getrandbits(32)).integers(0, 256, (height // 16 + 2, width // 16 + 2, 3), dtype=np.uint8)
    Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).save(path, quality=90, progressive=draw.random() < 0.5)


def draw_cases(draw: random.Random, work: Path, video: bool) -> list[tuple[str, list[str]]]:
    """What is said and shown: options of generate and inspect alike."""
    for name in ("one.jpg", "two.jpg", "three.jpg"):
        draw_picture(draw, work / name)
    words = "the color of what is seen here and there "
    cases = [
        ("text", ["-p", words * draw.randint(1, 8), "--max-tokens", str(draw.randint(2, 24))]),
        ("text in steps", ["-p", words * draw.randint(20, 40), "--max-tokens", "4", "--prefill-step", str(draw.randint(30, 100))]),
        ("a picture", ["-i", str(work / "one.jpg"), "-p", "What is this?", "--max-tokens", str(draw.randint(2, 24))]),
        ("three pictures", [x for n in ("one", "two", "three") for x in ("-i", str(work / f"{n}.jpg"))] + ["-p", "And these?", "--max-tokens", "4"]),
    ]
    if video:
        frames = work / "frames"
        frames.mkdir(exist_ok=True)
        first = frames / "0.jpg"
        draw_picture(draw, first, 700)
        for index in range(1, draw.randint(4, 8)):
            shutil.copy(first, frames / f"{index}.jpg")
        cases.append(("a video", ["--video-frames", str(frames), "-p", "What happens?", "--max-tokens", "4"]))
        clip = work / "clip.mp4"
        width, height, seconds = draw.choice([1280, 1920]), draw.choice([720, 1080]), draw.randint(6, 12)
        source = f"testsrc2=size={width}x{height}:rate=10:duration={seconds}"
        subprocess.run(["ffmpeg", "-v", "error", "-y", "-f", "lavfi", "-i", source, "-pix_fmt", "yuv420p", clip], check=True)
        cases.append(("a video file", ["--video", str(clip), "-p", "What happens?", "--max-tokens", "4"]))
    return cases


# ---------------------------------------------------------------------------------------------------------------------
# What is compared


def run(vlm: Path, command: str, model: Path, options: list[str]) -> dict:
    done = subprocess.run([vlm, command, "-m", model, "--json", *options], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"vlm {command}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def check(vlm: Path, name: str, model: Path, cases: list[tuple[str, list[str]]]) -> bool:
    good = True
    for case, options in cases:
        said = run(vlm, "inspect", model, options)
        start = time.monotonic()
        seen = run(vlm, "generate", model, ["--ignore-eos", *options])["memory"]["peak_rss_bytes"]
        seconds = time.monotonic() - start
        error = said["peak_bytes"] / seen - 1
        good &= abs(error) <= BOUND
        parts = ", ".join(f"{key.removesuffix('_bytes')} {value / 1e6:.1f}" for key, value in said["memory"].items() if value >= 50_000)
        print(
            f"{name:14} {case:15} {said['prompt_tokens']:6} tokens  predicted {said['peak_bytes'] / 1e6:8.1f}  measured {seen / 1e6:8.1f} MB"
            f"  {error:+6.1%}  ({seconds:.0f} s; {parts})",
            flush=True,
        )
    return good


def write_checkpoint(files: dict[str, dict], out: Path) -> None:
    source = out.parent / (out.name + "-config")
    source.mkdir()
    for name, body in files.items():
        (source / name).write_text(json.dumps(body, indent=2))
    tool = ROOT / "tools/random_checkpoint.py"
    subprocess.run([sys.executable, tool, source / "config.json", out, "--shards", "2"], check=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--dir", type=Path, help="where checkpoints are written (a temporary folder)")
    parser.add_argument("--smol", type=int, default=1, help="SmolVLM-like checkpoints (1)")
    parser.add_argument("--qwen", type=int, default=1, help="Qwen2.5-VL-like checkpoints (1)")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints")
    args = parser.parse_args()
    draw, vlm = random.Random(args.seed), args.build / "vlm"
    print(f"seed {args.seed}")
    work = Path(tempfile.mkdtemp(prefix="vlm-memory-", dir=args.dir))
    try:
        good = check(vlm, "smolscene", ROOT / "models/smolscene", draw_cases(draw, work, video=False))
        for index, kind in enumerate([draw_smol] * args.smol + [draw_qwen] * args.qwen):
            name, files = kind(draw)
            out = work / f"checkpoint-{index}"
            write_checkpoint(files, out)
            good &= check(vlm, name, out, draw_cases(draw, work, video=kind is draw_qwen))
            if not args.keep:
                shutil.rmtree(out)
    finally:
        if not args.keep:
            shutil.rmtree(work)
    print("every prediction is within 15 %" if good else "a prediction is more than 15 % away")
    sys.exit(not good)


if __name__ == "__main__":
    main()
