#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Peers and libvlm in the same run: same shapes, same bits, same threads, in turns. Prints a table of ratios and writes it with every figure, flag and
version to bench/results/DATE-MACHINE-peers.json and .md.

    bench/peers/run.py [--shapes qwen2.5-vl-3b] [--formats bf16,8bit,4bit] [--peers llama.cpp,transformers,mlx-vlm] [--rounds 3]

The first round measures each setting of a peer; later ones the settings that were best for the prompt and for decoding. Printed are medians over the
rounds. What is missing is built or made on first use (llama.cpp; random checkpoints by tools/random_checkpoint.py), else the row says what is missing.
Needs a Python of tools/requirements.txt. --under CMD runs each measurement under a command (taskset, a script that keeps the machine quiet)."""

from __future__ import annotations

import argparse
import datetime
import json
import shlex
import statistics
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.append(str(HERE.parent))

import llama_cpp
from common import FORMATS, ROOT, SIZES, checkpoint, chosen, last_words, save, say, version

SETTINGS = {"llama.cpp": list(llama_cpp.SETTINGS), "transformers": ["bf16-sdpa", "bf16-eager", "f32-sdpa"], "mlx-vlm": ["default"]}
FAILURES = (subprocess.CalledProcessError, OSError, ValueError, KeyError)


def machine() -> dict:
    fields = {}
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    wanted = "avx2 avx_vnni avx512f avx512_vnni avx512_bf16 amx_bf16 amx_int8 asimd asimddp i8mm bf16".split()
    flags = fields.get("flags", fields.get("Features", "")).split()
    name = fields.get("model name", fields.get("CPU implementer", "unknown"))
    return {"cpu": f"{name}, family {fields.get('cpu family', '?')}, model {fields.get('model', '?')}", "features": [f for f in wanted if f in flags]}


def slug(found: dict) -> str:
    words = found["cpu"].replace(",", "").lower().replace("family ", "").replace("model ", "").split()
    return "-".join("".join(c for c in word if c.isalnum() or c == ".") for word in words)


def objects(command: list, under: list[str]) -> list[dict]:
    """The JSON objects, one a line, that a command prints; its last words where it fails."""
    words = [*under, *map(str, command)]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT)
    if done.returncode:
        raise ValueError(f"{Path(str(words[len(under)])).name} {Path(str(command[1])).name}: {last_words(done)}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def peer_command(args: argparse.Namespace, peer: str, shape: str, form: str, setting: str) -> list:
    counts = ["--threads", args.threads, "--depth", args.depth, "--prefill", args.prefill, "--decode", args.decode]
    if peer == "llama.cpp":
        more = ["--cache", args.cache, "--repeats", args.repeats, "--settings", setting]
        return [args.python, HERE / "llama_cpp.py", shape, form, *counts, *more]
    if peer == "transformers":
        return [args.python, HERE / "transformers_cpu.py", checkpoint(args, shape, "bf16"), *counts, "--settings", setting]
    counts[5], counts[7] = args.mlx_prefill, args.mlx_decode
    return [args.python, HERE / "mlx_cpu.py", checkpoint(args, shape, form), *counts]


def ours(args: argparse.Namespace, shape: str, form: str, prefill: int, decode: int) -> dict:
    """vlm bench's object and, under the peers' names, its two figures; each is the median of --repeats, llama.cpp's the best of as many."""
    command = [args.vlm, "bench", "-m", checkpoint(args, shape, form), "--json", "--threads", args.threads, "--rounds", args.repeats]
    command += ["--prompt-tokens", prefill, "--generate", decode, "--kv", max(args.depth, 1)]
    found = objects(command, args.under)[0]
    return {"prefill_tok_s": found["prefill"][0]["tokens_s"], "decode_tok_s": found["decode"][0]["tokens_s"], "bench": found}


def best(rows: list[dict], key: str) -> dict:
    return max(rows, key=lambda row: row[key])


def ask_peer(args: argparse.Namespace, peer: str, shape: str, form: str, settings: set[str]) -> list[dict]:
    """One object per setting; a setting that cannot be measured is told and left out, unless none can."""
    found, last = [], None
    for setting in sorted(settings):
        try:
            found += objects(peer_command(args, peer, shape, form, setting), args.under)
        except FAILURES as error:
            last = error
            say(f"{peer}, {setting}: {error}")
    if not found:
        raise last or ValueError("no setting fits this machine")
    return found


def compare(args: argparse.Namespace, shape: str, form: str, peer: str) -> dict:
    """One row: libvlm and a peer in turns."""
    row = {"shape": shape, "format": form, "peer": peer, "ours": [], "theirs": []}
    rounds = 1 if peer == "mlx-vlm" else args.rounds
    counts = (args.mlx_prefill, args.mlx_decode) if peer == "mlx-vlm" else (args.prefill, args.decode)
    settings = set(SETTINGS[peer])
    for turn in range(rounds):
        say(f"{shape} {form}, {peer}, round {turn + 1} of {rounds}")
        row["ours"].append(ours(args, shape, form, *counts))
        row["theirs"].append(ask_peer(args, peer, shape, form, settings))
        settings = {best(row["theirs"][0], key)["setting"] for key in ("prefill_tok_s", "decode_tok_s")}
    for key in ("prefill_tok_s", "decode_tok_s"):
        chosen = best(row["theirs"][0], key)["setting"]
        values = [one[key] for found in row["theirs"] for one in found if one["setting"] == chosen]
        mine = statistics.median(found[key] for found in row["ours"])
        theirs = statistics.median(values)
        row[key] = {"ours": mine, "theirs": theirs, "ratio": mine / theirs, "setting": chosen}
    return row


def table(rows: list[dict]) -> str:
    lines = ["| shape | format | peer | prefill, ours / peer | ratio | decode, ours / peer | ratio | its settings |", "|---|---|---|---|---|---|---|---|"]
    for row in rows:
        if "missing" in row:
            lines.append(f"| {row['shape']} | {row['format']} | {row['peer']} | missing: {row['missing']} | | | | |")
            continue
        prefill, decode = row["prefill_tok_s"], row["decode_tok_s"]
        cells = [row["shape"], row["format"], row["peer"]]
        for part in (prefill, decode):
            cells += [f"{part['ours']:.4g} / {part['theirs']:.4g}", f"{part['ratio']:.2f}"]
        chosen = prefill["setting"] if prefill["setting"] == decode["setting"] else f"{prefill['setting']} / {decode['setting']}"
        lines.append("| " + " | ".join([*cells, chosen]) + " |")
    return "\n".join(lines)


def report(args: argparse.Namespace, found: dict, rows: list[dict]) -> str:
    head = f"# Peers, {found['date']}\n\n{found['cpu']} ({', '.join(found['features'])}), {args.threads} threads. Tokens/s, medians of {args.rounds} rounds"
    head += f" in turns; prompt of {args.prefill} tokens and {args.decode} decoded ones behind {args.depth} (mlx-vlm: {args.mlx_prefill} and"
    head += f" {args.mlx_decode}, one round). Random weights. bf16 / 8bit / 4bit are BF16 / Q8_0 / Q4_0 in llama.cpp.\n\n"
    peers = {row["peer"]: row["theirs"][0][0] for row in rows if row.get("theirs")}
    flags = "\n".join(f"- {name}: {one['version']}; {one['flags']}" for name, one in peers.items())
    return f"{head}{table(rows)}\n\n- libvlm: {found['vlm']}\n{flags}\n"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--vlm", type=Path, default=ROOT / "build" / "vlm")
    parser.add_argument("--checkpoints", type=Path, default=ROOT / "build" / "shapes", help="holds SHAPE-FORMAT folders")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "peers")
    parser.add_argument("--out", type=Path, default=ROOT / "bench" / "results")
    parser.add_argument("--python", default=sys.executable)
    parser.add_argument("--shapes", default="smolvlm-256m,qwen2.5-vl-3b")
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--peers", default=",".join(SETTINGS))
    parser.add_argument("--under", type=shlex.split, default=[], metavar="CMD")
    counts = {"threads": 2, "prefill": 512, "decode": 32, "depth": 0, "rounds": 3, "repeats": 2, "mlx-prefill": 64, "mlx-decode": 4}
    for name, value in counts.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    args = parser.parse_args()
    for name, known in (("shapes", list(SIZES)), ("formats", FORMATS), ("peers", list(SETTINGS))):
        setattr(args, name, chosen(parser, name, getattr(args, name), known))
    for name in ("vlm", "checkpoints", "cache", "out"):
        setattr(args, name, getattr(args, name).absolute())
    return args


def main() -> None:
    args = options()
    found = {"date": datetime.date.today().isoformat(), **machine(), "vlm": version(args.vlm)}
    rows = []
    for shape in args.shapes:
        for form in args.formats:
            for peer in args.peers:
                if peer == "transformers" and form != "bf16":
                    continue  # it has no such format on a CPU
                try:
                    rows.append(compare(args, shape, form, peer))
                except FAILURES as error:
                    rows.append({"shape": shape, "format": form, "peer": peer, "missing": str(error)})
                    say(f"missing: {error}")
    counts = {name: getattr(args, name) for name in ("threads", "prefill", "decode", "depth", "rounds")}
    save(args.out, f"{found['date']}-{slug(found)}-peers", found | counts | {"rows": rows}, report(args, found, rows))


if __name__ == "__main__":
    main()
