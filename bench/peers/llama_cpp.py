#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""llama.cpp, built for this machine from the source that PyPI's llama-cpp-python carries, measured by its own llama-bench: one JSON object per setting.

    bench/peers/llama_cpp.py SHAPE FORMAT [--cache build/peers] [--threads 2] [--prefill 512] [--decode 32] [--depth 0] [--settings "A;B"]

The first use downloads, builds (some twenty minutes of two cores) and writes the shape as GGUF, all under --cache. Each figure is the best of --repeats:
the noise of a shared machine counts for the peer. --ik PATH measures ik_llama.cpp's llama-bench instead, which no registry has and the user builds."""

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

PACKAGE, VERSION = "llama-cpp-python", "0.3.36"
OPTIONS = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    "-DGGML_NATIVE=ON",
    "-DGGML_OPENMP=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_SERVER=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_APP=OFF",
]
SETTINGS = {
    "default": [],
    "no-mmap,fa": ["-lm", "none", "-fa", "on"],
    "no-repack,no-fa": ["--repack", "0", "-fa", "off"],
}
SETTINGS_IK = {
    "default": [],
    "repack": ["-rtr", "1"],
    "repack,thp,no-fa": ["-rtr", "1", "-thp", "1", "-fa", "0"],
}


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


def built(cache: Path) -> tuple[Path, dict]:
    """llama-bench and what it was built from and with; builds it where it is not there yet."""
    home = (cache / "llama.cpp").absolute()
    binary, note = home / "build" / "bin" / "llama-bench", home / "built.json"
    if binary.exists() and note.exists():
        return binary, json.loads(note.read_text())
    home.mkdir(parents=True, exist_ok=True)
    log = home / "build.log"
    say(f"building {PACKAGE} {VERSION} under {home} (once; {log} tells how far it is)")
    source = home / "source"
    if not (source / "CMakeLists.txt").exists():
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", PACKAGE, "-d", home, f"{PACKAGE}=={VERSION}"]
        run(pip, log)
        unpack(next(home.glob("*.tar.gz")), source)
    # The search for a git commit must not find the repository that the cache lies in.
    environment = os.environ | {"GIT_CEILING_DIRECTORIES": str(home)}
    nice = ["nice", "-n", "10"]
    run([*nice, "cmake", "-S", source, "-B", home / "build", *OPTIONS], log, env=environment)
    run([*nice, "cmake", "--build", home / "build", "--target", "llama-bench", "-j2"], log, env=environment)
    found = {"version": f"{PACKAGE} {VERSION}", "flags": f"{' '.join(OPTIONS)}; {compiler()}"}
    note.write_text(json.dumps(found, indent=2))
    return binary, found


def model(cache: Path, shape: str, form: str) -> Path:
    path = cache / "gguf" / f"{shape}-{form}.gguf"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        import gguf_model

        gguf_model.write_file(shape, form, path)
    return path


def bench(command: list) -> list[dict]:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        raise SystemExit("\n".join([f"{command[0]} ended with {done.returncode}:", *done.stderr.splitlines()[-8:]]))
    return json.loads(done.stdout)


def measure(binary: Path, path: Path, args: argparse.Namespace, setting: list[str]) -> dict:
    """Prompt and decode in one process; behind a filled cache the decode is a second one."""
    common = [binary, "-m", path, "-t", args.threads, "-r", args.repeats, "-o", "json", *setting]
    common += ["-w", "0"] if args.ik else ["--no-warmup"]
    if args.depth and args.ik:
        rows = bench([*common, "-p", args.prefill, "-n", 0]) + bench([*common, "-p", 0, "-n", 0, "-gp", f"{args.depth},{args.decode}"])
    elif args.depth:
        rows = bench([*common, "-p", args.prefill, "-n", 0]) + bench([*common, "-p", 0, "-n", args.decode, "-d", args.depth])
    else:
        rows = bench([*common, "-p", args.prefill, "-n", args.decode])
    out = {}
    for row in rows:
        kind = "decode_tok_s" if row["n_gen"] else "prefill_tok_s"
        out[kind] = max(row["samples_ts"])
    return out


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
    parser.add_argument("--ik", type=Path, metavar="LLAMA_BENCH")
    args = parser.parse_args()
    table = SETTINGS_IK if args.ik else SETTINGS
    if args.ik:
        binary, found = args.ik, {"version": "ik_llama.cpp, built by the user", "flags": "not known"}
    else:
        binary, found = built(args.cache)
    path = model(args.cache, args.shape, args.format)
    same = {"peer": "ik_llama.cpp" if args.ik else "llama.cpp", **found, "threads": args.threads}
    same |= {"prefill": args.prefill, "decode": args.decode, "depth": args.depth}
    for name in args.settings.split(";") if args.settings else table:
        print(json.dumps(same | {"setting": name} | measure(binary, path, args, table[name])), flush=True)


if __name__ == "__main__":
    main()
