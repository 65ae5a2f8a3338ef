#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llama.cpp, built for this machine from the source that PyPI's llama-cpp-python carries, timed by llama_driver.c: one JSON object per setting.

    bench/peers/llama_cpp.py SHAPE FORMAT [--cache build/peers] [--threads 2] [--prefill 512] [--decode 32] [--depth 0] [--settings "A;B"]

The first use downloads, builds (some ten minutes of two cores) and writes the shape as GGUF, all under --cache. Each figure is the best of --repeats:
the noise of a shared machine counts for the peer."""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

import shapes

HERE = Path(__file__).resolve().parent
PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_COMMON=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TOOLS=OFF",
    "-DLLAMA_BUILD_APP=OFF",
]
SETTINGS = {
    "default": ["1", "-1", "1"],
    "no mmap, flash attention": ["1", "1", "0"],
    "no repack, no flash attention": ["0", "0", "1"],
}  # the driver's REPACK, FLASH and MMAP
LIBRARIES = ["src/libllama.a", "ggml/src/libggml.a", "ggml/src/libggml-cpu.a", "ggml/src/libggml-base.a"]


def say(text: str) -> None:
    print(f"llama.cpp: {text}", file=sys.stderr, flush=True)


def run(command: list, log: Path, **more) -> None:
    """A command whose output goes to a file; its end is shown where it fails."""
    with open(log, "ab") as out:
        code = subprocess.run([str(word) for word in command], stdout=out, stderr=out, **more).returncode
    if code:
        tail = log.read_text(errors="replace").splitlines()[-15:]
        raise SystemExit("\n".join([f"{command[0]} ended with {code}; {log} ends:", *tail]))


def unpack(archive: Path, folder: Path) -> None:
    """vendor/llama.cpp of the source distribution, without the folders above it."""
    with tarfile.open(archive) as tar:
        members = []
        for member in tar.getmembers():
            found = re.fullmatch(r"[^/]+/vendor/llama\.cpp/(.+)", member.name)
            if found and (member.isfile() or member.isdir()):
                member.name = found[1]
                members.append(member)
        tar.extractall(folder, members, filter="data")


def compiler() -> str:
    version = subprocess.run(["c++", "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    target = subprocess.run(["c++", "-march=native", "-Q", "--help=target"], capture_output=True, text=True).stdout
    march = re.search(r"-march=\s+(\S+)", target)
    return f"{version}, -march=native is {march[1] if march else 'not told'}"


def link(home: Path, log: Path) -> Path:
    source, build, driver = home / "source", home / "build", home / "llama_driver"
    include = [f"-I{source / 'include'}", f"-I{source / 'ggml' / 'include'}"]
    run(["cc", "-std=gnu11", "-O2", *include, "-c", HERE / "llama_driver.c", "-o", home / "llama_driver.o"], log)
    run(["c++", home / "llama_driver.o", *(build / name for name in LIBRARIES), "-o", driver, "-lpthread", "-ldl", "-lm"], log)
    return driver


def built(cache: Path) -> tuple[Path, dict]:
    """The driver and what it was built from and with; builds it where it is not there yet."""
    home = (cache / "llama.cpp").absolute()
    note, log = home / "built.json", home / "build.log"
    if note.exists():
        return link(home, log), json.loads(note.read_text())
    home.mkdir(parents=True, exist_ok=True)
    say(f"building {PACKAGE} {VERSION} under {home} (once; {log} tells how far it is)")
    source = home / "source"
    if not (source / "CMakeLists.txt").exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "-d", home, f"{PACKAGE}=={VERSION}"]
        run(pip, log)
        unpack(next(home.glob("*.tar.gz")), source)
    # The search for a git commit must not find the repository that the cache lies in.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(home)}
    run(["nice", "cmake", "-S", source, "-B", home / "build", *OPTIONS], log, env=environment)
    run(["nice", "cmake", "--build", home / "build", "--target", "llama", "-j2"], log, env=environment)
    driver = link(home, log)
    found = {"version": f"{PACKAGE} {VERSION}", "flags": f"{' '.join(OPTIONS)}; {compiler()}"}
    note.write_text(json.dumps(found, indent=2))
    return driver, found


def model(cache: Path, shape: str, form: str) -> Path:
    path = cache / "gguf" / f"{shape}-{form}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        import gguf_model

        gguf_model.write_file(shape, form, path)
    return path


def measure(driver: Path, path: Path, args: argparse.Namespace, setting: list[str]) -> dict:
    counts = [args.threads, args.prefill, args.decode, args.depth, args.repeats]
    done = subprocess.run([str(word) for word in (driver, path, *counts, *setting)], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("\n".join([f"llama_driver ended with {done.returncode}", *done.stderr.splitlines()[-8:]]))
    found = json.loads(done.stdout)
    speeds = {"prefill_tok_s": args.prefill / min(found["prefill_s"]), "decode_tok_s": args.decode / min(found["decode_s"])}
    return {"system": found["system"].strip()} | speeds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shape", choices=shapes.names())
    parser.add_argument("format", choices=shapes.BITS)
    parser.add_argument("--cache", type=Path, default=Path("build/peers"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=32)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--settings", help="names separated by semicolons; all of them if not given")
    args = parser.parse_args()
    driver, found = built(args.cache)
    path = model(args.cache, args.shape, args.format)
    same = {"peer": "llama.cpp", **found, "threads": args.threads, "prefill": args.prefill, "decode": args.decode, "depth": args.depth}
    for name in args.settings.split(";") if args.settings else SETTINGS:
        print(json.dumps(same | {"setting": name} | measure(driver, path, args, SETTINGS[name])), flush=True)


if __name__ == "__main__":
    main()
