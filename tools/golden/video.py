# SPDX-License-Identifier: MIT
"""What FFmpeg makes of clips, and which frames the references take: writes tests/data/video/.

`python -m golden.video` in tools/, with Debian 12's `ffmpeg` installed. Clips that are there are kept: what an encoder
writes depends on its version. Hashes are the first 16 digits of SHA-256.
- frames.txt: FILE WIDTH HEIGHT FRAMES DURATION, then per frame TIME HASH, of `ffmpeg -pix_fmt rgb24`, times from the first
  frame;
- samples.txt: RULE and its numbers = the frames taken (transformers' and mlx-vlm's own functions);
- families.txt: VARIANT FILE FPS MAX_FRAMES, then NAME=HASH of what transformers' processor returns for the clip and "What
  happens?"; 0 where the user does not say.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import struct
import subprocess
import sys
import types
from fractions import Fraction
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[2] / "tests" / "data" / "video"
COPY = ["-c", "copy"]


def run(*args: str) -> bytes:
    return subprocess.run(args, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:16]


# ---- clips ----


def scene(size: str, rate: int, seconds: float, more: str = "") -> list[str]:
    width, height = (int(side) for side in size.split("x"))
    even = f"{width + width % 2}x{height + height % 2}"
    noise = f"noise=alls=12:allf=t:all_seed=7,format=rgb24,crop={width}:{height}:0:0"
    return ["-f", "lavfi", "-i", f"testsrc2=size={even}:rate={rate}:duration={seconds},{noise}{more}"]


def x264(pixels: str, gop: int, *more: str) -> list[str]:
    return ["-c:v", "libx264", "-threads", "1", "-pix_fmt", pixels, "-g", str(gop), "-crf", "34", *more]


def recipes() -> dict[str, list[str]]:
    uneven = ",setpts=(N+floor(N/4)*3+mod(N\\,3)*0.3)/25/TB"
    sine = ["-f", "lavfi", "-i", "sine=440:duration=2", "-c:a", "aac", "-b:a", "16k"]
    bt709 = ["-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"]
    palette = "split[a][b];[a]palettegen=max_colors=32[p];[b][p]paletteuse"
    return {
        "h264.mp4": [*scene("96x64", 25, 2), *sine, *x264("yuv420p", 12, "-bf", "3", *bt709)],
        "open-gop.mp4": [*scene("96x64", 25, 2), *x264("yuv420p", 12, "-x264-params", "open-gop=1:scenecut=0", "-bf", "3")],
        "variable.mp4": [*scene("80x48", 25, 2, uneven), "-vsync", "vfr", *x264("yuv420p", 10, "-bf", "2")],
        "variable.mkv": ["-i", "variable.mp4", *COPY],
        "hevc.mp4": [*scene("64x48", 24, 1), "-c:v", "libx265", "-x265-params", "log-level=none:pools=1", "-pix_fmt", "yuv420p10le",
                     "-crf", "34", "-tag:v", "hvc1", "-colorspace", "bt2020nc", "-color_range", "tv"],
        "vp9.webm": [*scene("97x65", 15, 2), "-c:v", "libvpx-vp9", "-pix_fmt", "yuv420p", "-crf", "45", "-b:v", "0", "-g", "10"],
        "av1.mkv": [*scene("64x64", 15, 1), "-c:v", "libaom-av1", "-cpu-used", "8", "-crf", "45", "-pix_fmt", "yuv420p"],
        "plain.mov": [*scene("73x57", 10, 2), "-c:v", "mpeg4", "-q:v", "12", "-g", "6", "-bf", "2"],
        "full-range.mp4": [*scene("60x44", 10, 1), *x264("yuvj420p", 5)],
        "yuv444.mp4": [*scene("61x45", 10, 1), *x264("yuv444p", 5)],
        "yuv422-10.mkv": [*scene("62x46", 10, 1), *x264("yuv422p10le", 5)],
        "fragments.mp4": ["-i", "h264.mp4", "-an", *COPY, "-movflags", "+frag_keyframe+empty_moov"],
        "starts-late.mkv": [*scene("48x32", 10, 1, ",setpts=PTS+0.73/TB"), *x264("yuv420p", 5), "-copyts"],
        "animation.gif": [*scene("48x36", 10, 1.2), "-filter_complex", palette],
        "sound.m4a": ["-f", "lavfi", "-i", "sine=440:duration=1", "-c:a", "aac", "-b:a", "16k"],
    }


def turn(data: bytes, matrix: tuple[int, ...]) -> bytes:
    """The same file with the first two columns of its track's display matrix replaced."""
    at = data.index(b"tkhd") + 4 + 40
    a, b, c, d = (v * 65536 for v in matrix)
    return data[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + data[at + 36 :]


def write_clips() -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    plain = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact", "-map_metadata", "-1"]
    for name, recipe in recipes().items():
        if not (FOLDER / name).exists():
            recipe = [str(FOLDER / word) if word in recipes() else word for word in recipe]
            run("ffmpeg", "-v", "error", *recipe, *plain, str(FOLDER / name))
    for name, matrix in {"turned-90.mov": (0, 1, -1, 0), "turned-180.mov": (-1, 0, 0, -1), "turned-270.mov": (0, -1, 1, 0)}.items():
        (FOLDER / name).write_bytes(turn((FOLDER / "plain.mov").read_bytes(), matrix))


# ---- frames ----


def probe(path: Path) -> tuple[list[int], Fraction, int]:
    """Time stamps of the frames in the order they are shown, a tick, the last frame's ticks."""
    said = json.loads(run("ffprobe", "-v", "error", "-select_streams", "V:0", "-show_entries",
                          "stream=time_base:frame=best_effort_timestamp:packet=pts,duration", "-of", "json", str(path)))
    items = said["packets_and_frames"]
    stamps = [int(f["best_effort_timestamp"]) for f in items if f["type"] == "frame"]
    durations = {int(p.get("pts", 0)): int(p.get("duration", 0)) for p in items if p["type"] == "packet"}
    return stamps, Fraction(said["streams"][0]["time_base"]), durations.get(max(stamps), 0)


def write_frames() -> None:
    lines = []
    for path in sorted(FOLDER.iterdir()):
        if path.suffix in (".txt", ".m4a"):
            continue
        stamps, tick, last = probe(path)
        picture = run("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:V:0", "-frames:v", "1", "-f", "image2", "-c:v", "ppm", "-")
        width, height = (int(word) for word in picture.split(b"\n")[1].split())
        raw = run("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:V:0", "-vsync", "passthrough",
                  "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
        size = width * height * 3
        frames = [raw[i : i + size] for i in range(0, len(raw), size)]
        assert len(frames) == len(stamps), path
        duration = (stamps[-1] + last - stamps[0]) * tick
        lines.append(f"{path.name} {width} {height} {len(frames)} {float(duration)!r}")
        lines += [f"{float((t - stamps[0]) * tick)!r} {digest(f)}" for t, f in zip(stamps, frames)]
    (FOLDER / "frames.txt").write_text("\n".join(lines) + "\n")


# ---- which frames ----
TOTALS = (1, 2, 3, 5, 7, 16, 25, 31, 48, 100, 240, 325, 999, 1440, 18000)
RATES = (10.0, 23.976023976023978, 25.0, 29.97002997002997, 60.0)


def shown(numbers) -> str:
    numbers = [int(n) for n in numbers]
    words = " ".join(map(str, numbers))
    return f"{len(numbers)} {digest(words.encode())} {words if len(numbers) <= 8 else '-'}"


def of_transformers(lines: list[str]) -> None:
    from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor
    from transformers.models.smolvlm.video_processing_smolvlm import SmolVLMVideoProcessor
    from transformers.video_utils import VideoMetadata

    qwen, smol = Qwen2VLVideoProcessor(), SmolVLMVideoProcessor()
    for total, rate, fps, most in itertools.product(TOTALS, RATES, (0.5, 2.0, 3.0), (8, 64, 768)):
        known = VideoMetadata(total_num_frames=total, fps=rate, duration=total / rate)
        try:
            numbers = shown(qwen.sample_frames(known, fps=fps, min_frames=4, max_frames=most))
        except (ZeroDivisionError, ValueError, RuntimeError):
            numbers = "none"
        lines.append(f"qwen {total} {rate!r} {fps!r} {most} = {numbers}")
        lines.append(f"smolvlm {total} {rate!r} {fps!r} {most} = {shown(smol.sample_frames(known, num_frames=most, fps=fps))}")
    wishes = [{"num_frames": n} for n in (1, 2, 5, 7, 64)] + [{"fps": 0.5, "min_frames": least, "max_frames": most} for least, most in ((6, 64), (9, 64), (9, 8))]
    for total, rate, wish in itertools.product(TOTALS, RATES, wishes):
        known = VideoMetadata(total_num_frames=total, fps=rate, duration=total / rate)
        try:
            numbers = shown(qwen.sample_frames(known, **wish))
        except (ZeroDivisionError, ValueError, RuntimeError):
            numbers = "none"
        values = " ".join(str(wish.get(key, 0)) for key in ("fps", "max_frames", "min_frames", "num_frames"))
        lines.append(f"qwen-wish {total} {rate!r} {values} = {numbers}")


def of_mlx_vlm(lines: list[str]) -> None:
    """Its load_video, with a capture in OpenCV's place that has the frames' count and rate, and no pixels."""
    clip = types.SimpleNamespace(total=0, rate=0.0)

    class Capture:
        def __init__(self, path):
            pass

        def isOpened(self):
            return True

        def get(self, what):
            return {"count": clip.total, "fps": clip.rate}.get(what, 2)

        def set(self, what, value):
            pass

        def read(self):
            return True, np.zeros((2, 2, 3), np.uint8)

        def release(self):
            pass

    fake = types.ModuleType("cv2")
    fake.VideoCapture, fake.cvtColor, fake.COLOR_BGR2RGB = Capture, lambda frame, code: frame, 0
    fake.CAP_PROP_FRAME_COUNT, fake.CAP_PROP_FPS, fake.CAP_PROP_POS_FRAMES = "count", "fps", "at"
    fake.CAP_PROP_FRAME_WIDTH = fake.CAP_PROP_FRAME_HEIGHT = "side"
    from mlx_vlm.utils import load_video

    sys.modules["cv2"] = fake
    options = [{"fps": fps, "max_frames": most} for fps, most in itertools.product((0.5, 2.0, 3.0), (8, 768))] + [{"nframes": n} for n in (5, 6, 7)]
    for total, rate, option in itertools.product(TOTALS, RATES, options):
        clip.total, clip.rate = total, rate
        try:
            numbers = shown(load_video("clip", **option)[1].frames_indices)
        except ValueError:
            numbers = "none"
        lines.append(f"mlx-vlm {total} {rate!r} {option.get('fps', 0.0)!r} {option.get('max_frames', 0)} {option.get('nframes', 0)} = {numbers}")


def write_samples() -> None:
    lines: list[str] = []
    of_transformers(lines)
    of_mlx_vlm(lines)
    (FOLDER / "samples.txt").write_text("\n".join(lines) + "\n")


# ---- families ----


def decoded(path: Path) -> tuple[np.ndarray, float, float]:
    """All frames, [n, height, width, 3]; frames a second and duration as torchcodec has them, from the frames themselves."""
    said = (FOLDER / "frames.txt").read_text().split("\n")
    _, width, height, count, duration = next(line for line in said if line.startswith(path.name + " ")).split()
    raw = run("ffmpeg", "-v", "error", "-i", str(path), "-map", "0:V:0", "-vsync", "passthrough", "-pix_fmt", "rgb24", "-f", "rawvideo", "-")
    frames = np.frombuffer(raw, np.uint8).reshape(int(count), int(height), int(width), 3)
    return frames, int(count) / float(duration), float(duration)


def write_families() -> None:
    from transformers.video_utils import VideoMetadata

    from . import idefics3, qwen2_5_vl
    from .common import VIDEO, load_processor, user

    wishes = ((0.0, 0), (5.0, 0), (3.0, 4), (0.0, 6))
    lines = []
    for variant in idefics3.variants() + qwen2_5_vl.variants():
        if variant.name not in ("smolvlm-video", "qwen2_5_vl-tied"):
            continue
        processor = load_processor(variant)
        text = processor.apply_chat_template([user(VIDEO, "What happens?")], add_generation_prompt=True, tokenize=False)
        for name, (fps, most) in itertools.product(("h264.mp4", "variable.mkv", "vp9.webm", "turned-90.mov"), wishes):
            frames, rate, duration = decoded(FOLDER / name)
            known = VideoMetadata(total_num_frames=len(frames), fps=rate, duration=duration, height=frames.shape[1], width=frames.shape[2])
            if variant.name == "smolvlm-video":
                options = {"fps": fps or 1, "num_frames": most or 64}
            else:
                options = {"fps": fps or 2.0, "max_frames": most or 768}
            batch = processor(text=text, videos=[[frames]] if "num_frames" in options else [frames], video_metadata=[known],
                              do_sample_frames=True, return_tensors="pt", **options)
            words = [f"{key}={digest(value.contiguous().numpy().tobytes())}" for key, value in sorted(batch.items()) if hasattr(value, "numpy")]
            lines.append(f"{variant.name} {name} {fps!r} {most} {' '.join(words)}")
    (FOLDER / "families.txt").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    write_clips()
    write_frames()
    write_samples()
    write_families()
