#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Holds the hub cache of `vlm pull` against huggingface_hub's (tools/requirements.txt), both ways, over a hub on this
machine that serves the bundled model: hub_python.py [BUILD]. Run by hand; the committed tests need no Python."""
import contextlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

BUILD = Path(sys.argv[1] if len(sys.argv) > 1 else "build").resolve()
MODEL = Path("models/smolscene").resolve()
ID = "acme/tiny-vlm"
QUESTION = ["-i", "examples/night.png", "-p", "What do you see?"]
PYTHON = """
import os, sys, huggingface_hub as hub
what, id = sys.argv[1:3]
if what == "pull":
    print(hub.snapshot_download(id, ignore_patterns=["README.md"]))
elif what == "find":
    print(hub.snapshot_download(id, local_files_only=True))
elif what == "file":
    print(hub.hf_hub_download(id, sys.argv[3]))
elif what == "scan":
    info = hub.scan_cache_dir()
    assert not info.warnings, info.warnings
    repo, = info.repos
    revision, = repo.revisions
    print(repo.repo_id, sorted(revision.refs), revision.commit_hash, len(revision.files), repo.size_on_disk)
"""


@contextlib.contextmanager
def hub(counts):
    server = subprocess.Popen([BUILD / "tests/serve_hub", MODEL], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    endpoint, commit = server.stdout.readline().split()
    try:
        yield endpoint, commit
    finally:
        server.stdin.close()
        counts.append(tuple(map(int, server.stdout.read().split())))
        server.wait()


def run(command, home, endpoint, **more):
    env = {**os.environ, "HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", **more}
    for name in ("HF_HUB_CACHE", "HF_TOKEN", "HF_HUB_OFFLINE"):
        if name not in more:
            env.pop(name, None)
    done = subprocess.run([str(c) for c in command], env=env, capture_output=True, text=True)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout.strip()


def python(home, endpoint, *arguments, **more):
    return run([sys.executable, "-c", PYTHON, *arguments], home, endpoint, **more)


def vlm(home, endpoint, *arguments, **more):
    return run([BUILD / "vlm", *arguments], home, endpoint, **more)


def tree(home):
    """What lies in the cache: links with their targets, files with their content; not what only one tool writes."""
    root, found = Path(home) / "hub", {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        if path.is_symlink():
            found[name] = os.readlink(path)
        elif path.is_file() and "/trees/" not in name and name != "CACHEDIR.TAG":
            found[name] = path.read_bytes()
    return found


def main():
    counts, names = [], sorted(p.name for p in MODEL.iterdir() if p.name != "README.md")
    with tempfile.TemporaryDirectory() as ours, tempfile.TemporaryDirectory() as theirs:
        with hub(counts) as (endpoint, commit):
            snapshot = vlm(ours, endpoint, "pull", ID)
        # Python without a network, in what vlm pulled.
        offline = {"HF_HUB_OFFLINE": "1"}
        assert python(ours, endpoint, "find", ID, **offline) == snapshot
        for name in names:
            assert python(ours, endpoint, "file", ID, name, **offline) == f"{snapshot}/{name}"
            assert Path(snapshot, name).read_bytes() == (MODEL / name).read_bytes()
        print("python sees:", python(ours, endpoint, "scan", ID))
        # vlm without a network, in what Python pulled.
        with hub(counts) as (endpoint, commit):
            snapshot = python(theirs, endpoint, "pull", ID)
        assert vlm(theirs, endpoint, "pull", "--offline", ID) == snapshot
        want = vlm(theirs, endpoint, "generate", "-m", MODEL, *QUESTION)
        assert vlm(theirs, endpoint, "generate", "-m", ID, *QUESTION, **offline) == want
        # The same names, links and bytes.
        a, b = tree(ours), tree(theirs)
        assert a == b, (sorted(set(a) ^ set(b)), [n for n in a if a[n] != b.get(n)])
        # With a network: neither fetches a file that the other has.
        with hub(counts) as (endpoint, commit):
            vlm(theirs, endpoint, "pull", ID)
        assert counts[-1][0] == 1, counts[-1]
        with hub(counts) as (endpoint, commit):
            python(ours, endpoint, "pull", ID)
        assert counts[-1][2] < 10000, counts[-1]  # lists and heads
        print(f"{len(a)} entries alike; GETs, HEADs, bytes of the four runs: {counts}")


main()
