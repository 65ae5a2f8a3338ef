#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs `vlm inspect` over every config.json below a folder and prints what it says, as a table.

    tools/inspect_configs.py FOLDER [--build build] [--config CONFIG.json]

A file called config.json, or config.<anything>.json, is inspected among copies of the files beside it, under its plain name. Folders that have processor
files and no config.json are inspected with --config; preprocessor_config.<anything>.json likewise become preprocessor_config.json. Fails when a run ends
in anything but an inspection (0) or one line that says what is wrong (1).
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VARIANT = re.compile(r"((?:pre)?processor_config|config)\.(.+)\.json")


def directories(folder: Path, config: Path | None) -> list[tuple[str, dict[str, Path]]]:
    """Name of each inspection, and its files by the name they get."""
    found = []
    for path in sorted(folder.rglob("*")):
        if not path.is_dir():
            continue
        plain = {file.name: file for file in path.iterdir() if file.is_file() and not VARIANT.fullmatch(file.name)}
        variants = [(VARIANT.fullmatch(file.name), file) for file in sorted(path.iterdir()) if VARIANT.fullmatch(file.name)]
        configs = [("", {})] if "config.json" in plain else []
        configs += [(":" + match[2], {match[1] + ".json": file}) for match, file in variants]
        if not configs and any(name.endswith("processor_config.json") for name in plain):
            configs = [("", {})]
        for suffix, own in configs:
            files = plain | own
            if "config.json" not in files and config:
                files["config.json"], suffix = config, suffix + " +config"
            if "config.json" in files:
                found.append((str(path.relative_to(folder)) + suffix, files))
    return found


def describe(said: dict) -> str:
    eos = ", ".join(f"{item['id']} ({item['source']})" for item in said["eos"])
    quantization = said["quantization"]
    parts = [
        said["model_type"] if said["model_type"] == said["maps_to"] else f"{said['model_type']} as {said['maps_to']}",
        f"{said['processor_class']} ({said['processor_file']})" if said["processor_class"] else "no processor",
        f"{said['parameters'] / 1e6:,.1f} M parameters, {said['layers']} layers, vocabulary {said['vocab_size']}",
        "end " + eos if eos else "no end token",
    ]
    if quantization:
        parts.append("quantized: " + " ".join(str(value) for value in quantization.values()))
    return "; ".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--config", type=Path, help="config.json for folders that have none")
    args = parser.parse_args()
    good, counts = True, {0: 0, 1: 0}
    for name, files in directories(args.folder, args.config):
        with tempfile.TemporaryDirectory() as work:
            for to, file in files.items():
                shutil.copy(file, Path(work) / to)
            done = subprocess.run([args.build / "vlm", "inspect", "-m", work, "--json"], capture_output=True, text=True)
            line = done.stderr.replace(work + "/", "").strip()
        good &= done.returncode == 0 or (done.returncode == 1 and "\n" not in line)
        counts[done.returncode] = counts.get(done.returncode, 0) + 1
        print(f"{name:45} {done.returncode}  {describe(json.loads(done.stdout)) if done.returncode == 0 else line}")
    print(f"{counts[0]} inspected, {counts[1]} refused")
    sys.exit(not good)


if __name__ == "__main__":
    main()
