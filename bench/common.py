# SPDX-License-Identifier: MIT
"""What the scripts that measure share: checkpoints of published shapes with random weights, made on first use, and where results go."""

from __future__ import annotations

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FORMATS = ("bf16", "8bit", "4bit")
SIZES = {"smolvlm-256m": 2.6, "smolvlm-2.2b": 22, "paligemma-3b-224": 29, "qwen2.5-vl-3b": 38}  # 100 MB of parameters
SIZES |= {"lfm2-vl-450m": 4.5, "fastvlm-0.5b": 8, "glm-ocr": 11, "nanollava": 11, "qwen2-vl-2b": 22, "qwen3-vl-2b": 21, "ministral-3-3b": 39}
SIZES |= {"gemma-3-4b": 43, "qwen3-vl-30b-a3b-8-layers": 61, "llava-1.5-7b": 71, "llava-v1.6-mistral-7b": 76, "pixtral-12b": 127}


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def last_words(done: subprocess.CompletedProcess) -> str:
    return (done.stderr.strip() or f"ended with {done.returncode}").splitlines()[-1]


def checkpoint(args: argparse.Namespace, shape: str, form: str) -> Path:
    """SHAPE-FORMAT below args.checkpoints; args.python makes it. ValueError says why there is none."""
    path = args.checkpoints / f"{shape}-{form}"
    if any(path.glob("*.safetensors")):
        return path
    need = SIZES[shape] * {"bf16": 2, "8bit": 1.4}.get(form, 1.0 if SIZES[shape] < 50 else 0.7) * 1e8  # a tower is less of a large one
    args.checkpoints.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(args.checkpoints).free < 1.2 * need:
        raise ValueError(f"{path} needs {need / 1e9:.1f} GB of disk")
    say(f"making {path}")
    kind = [] if form == "bf16" else ["--quantize", form.removesuffix("bit")]
    made = path.with_name(path.name + ".part")
    command = [args.python, ROOT / "tools/random_checkpoint.py", ROOT / "tools/configs" / shape / "config.json", made, *kind]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{path} is not there, and {args.python} cannot make it (it takes tools/requirements.txt): {last_words(done)}")
    made.rename(path)
    return path


def version(vlm: Path) -> str:
    """What the program says it is, and the commit of these sources."""
    said = subprocess.run([vlm, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    commit = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    return f"{said} {commit}".strip()


def chosen(parser: argparse.ArgumentParser, name: str, text: str, known: list[str] | tuple[str, ...]) -> list[str]:
    """The words of an option, with commas between them."""
    words = text.split(",")
    wrong = [word for word in words if word not in known]
    if wrong:
        parser.error(f"--{name}: {wrong[0]} is none of {', '.join(known)}")
    return words


def parser_of(doc: str, shapes: list[str], formats: str, seconds: int) -> argparse.ArgumentParser:
    """The options that all take."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vlm", type=Path, default=ROOT / "build/vlm")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build/shapes")
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results")
    parser.add_argument("--python", default=sys.executable, help="makes checkpoints")
    parser.add_argument("--shapes", default=",".join(shapes))
    parser.add_argument("--formats", default=formats)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=int, default=seconds, help="a row of vlm bench begins no round after so many")
    parser.add_argument("--under", type=shlex.split, default=[], metavar="CMD")
    return parser


def parsed(parser: argparse.ArgumentParser, shapes: list[str]) -> argparse.Namespace:
    args = parser.parse_args()
    args.shapes = chosen(parser, "shapes", args.shapes, shapes)
    args.formats = chosen(parser, "formats", args.formats, FORMATS)
    return args


def told(command: list) -> dict:
    """What a command prints as JSON; ValueError has its last line."""
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise ValueError(last_words(done))
    return json.loads(done.stdout)


def percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def slug(machine: dict) -> str:
    words = "".join(c if c.isalnum() else " " for c in machine["cpu"].lower()).split()
    return "-".join([*words, f"{machine['threads']}t"])


def save(out: Path, name: str, found: dict, page: str) -> None:
    """NAME.json and NAME.md, and the page to stdout."""
    out.mkdir(parents=True, exist_ok=True)
    (out / f"{name}.json").write_text(json.dumps(found, indent=1) + "\n")
    (out / f"{name}.md").write_text(page)
    print(page)
