# SPDX-License-Identifier: MIT
"""Holds the chat template interpreter against jinja2 as transformers sets it up.

`python -m golden.template_compare LIBRARY [DIR] [--random N] [--seed S]` (in tools/): every template below DIR (*.jinja,
*.jinja2, JSON with a chat_template, lists of cases with a template and their own data) over all conversations, with and
without add_generation_prompt, then N random templates, each rendered by both sides. LIBRARY is libvlm.so. A render counts as
the same when the text is, byte for byte, or when both refuse; where jinja2 was stopped by raise_exception, with its message.
Says each difference, a summary, and the causes of what both refuse; exits with 1 when there was a difference.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import json
import random
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from golden import templates as t
from golden.template_random import draw_template

says, text, parts, IMAGE, VIDEO, TOOL, CALL = t.says, t.text, t.parts, t.IMAGE, t.VIDEO, t.TOOL, t.CALL
SEARCH = {
    "type": "function",
    "function": {
        "name": "search",
        "description": "Finds documents.\nTwo lines.",
        "parameters": {
            "type": "object",
            "properties": {
                "query": {"type": "string", "description": "what"}, "top": {"type": ["integer", "null"], "default": 3},
                "filter": {"type": "object", "properties": {"year": {"type": "number", "minimum": 1900.5}}, "required": ["year"]},
                "any": {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "object"}}]},
            },
            "required": ["query", "filter"],
        },
        "return": {"type": "string"},
    },
}  # fmt: skip
NO_ARGS = {"type": "function", "function": {"name": "now", "description": "", "parameters": {"type": "object", "properties": {}}}}
CALL2 = {"type": "function", "id": "ABC123def", "function": {"name": "search", "arguments": {"query": "a \"b\" <c>\n", "filter": {"year": 1999.0}, "any": None}}}
CALL_TEXT = {"type": "function", "id": "000000001", "function": {"name": "now", "arguments": "{}"}}
DOCUMENTS = [{"title": "One", "text": "First <doc>.", "contents": "c1"}, {"title": "Zwei", "text": "日本"}]
RESULT = says("tool", '{"t": 21}', name="get_weather", tool_call_id="abcdefghi")
ASKS = says("user", "weather in Rome?")
CONVERSATIONS = {
    **t.CONVERSATIONS,
    "tools parts": {"messages": [parts("system", text("Use tools.")), parts("user", IMAGE, text("weather here?"))], "tools": [TOOL, SEARCH, NO_ARGS]},
    "two calls": {
        "messages": [
            ASKS, says("assistant", "I look.", tool_calls=[CALL, CALL2]), RESULT,
            says("tool", "found", name="search", tool_call_id="ABC123def"), says("assistant", "21, found."), says("user", "ok"),
        ],
        "tools": [TOOL, SEARCH],
    },
    "call without content": {"messages": [ASKS, says("assistant", None, tool_calls=[CALL]), RESULT], "tools": [TOOL]},
    "call of text": {"messages": [says("user", "time?"), says("assistant", "", tool_calls=[CALL_TEXT]), says("tool", "12:00", tool_call_id="000000001")], "tools": [NO_ARGS]},
    "result parts": {"messages": [ASKS, says("assistant", "", tool_calls=[CALL]), parts("tool", text("21"), text("sunny"))], "tools": [TOOL]},
    "documents": {"messages": [says("system", "Cite."), says("user", "what?")], "documents": DOCUMENTS},
    "documents and tools": {"messages": [says("user", "what?")], "documents": DOCUMENTS, "tools": [SEARCH]},
    "not thinking": {"messages": [says("user", "q")], "enable_thinking": False, "thinking": False, "reasoning_effort": "low"},
    "reasoning": {
        "messages": [says("user", "q"), says("assistant", "a", reasoning_content="because\n", thinking="because", reasoning="why"), says("user", "r")],
        "enable_thinking": True, "thinking": True, "reasoning_effort": "high",
    },
    "reasoning and call": {
        "messages": [ASKS, says("assistant", "", reasoning_content="\nmust look\n", thinking="must look", tool_calls=[CALL]), RESULT],
        "tools": [TOOL], "enable_thinking": True, "preserve_thinking": True, "clear_thinking": False,
    },
    "thinking parts": {"messages": [says("user", "q"), parts("assistant", {"type": "thinking", "thinking": "hm"}, text("a")), says("user", "r")]},
    "several systems": {"messages": [says("system", "A"), says("user", "u"), says("system", "B"), says("developer", "C"), says("user", "v")]},
    "developer": {"messages": [says("developer", "Do."), says("user", "u")], "model_identity": "You are X."},
    "videos and images": {"messages": [parts("user", VIDEO, IMAGE, text("a"), VIDEO, text("b")), says("assistant", "c"), parts("user", IMAGE)]},
    "audio": {"messages": [parts("user", {"type": "audio", "audio_url": "a.wav"}, text("hear"))]},
    "text list": {"messages": [says("user", ["plain", "strings"])]},
    "control": {"messages": [says("user", "\x01\x07\x1b[0m \r\n\t\x7f \ufeff a\u0301 \U000e0041")]},
    "assistant first": {"messages": [says("assistant", "hi"), says("user", "ho")]},
    "names": {"messages": [says("user", "a", name="Ann"), says("assistant", "b", name="Bot", prefix=True)], "custom": {"x": [1, 2.5]}},
}  # fmt: skip
TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>"}
NOW = int(t.MOMENT.timestamp())


class Error(ctypes.Structure):
    """vlm_error: its message, and room for the rest."""

    _fields_ = [("code", ctypes.c_int), ("message", ctypes.c_char * 500), ("rest", ctypes.c_char * 1024)]


class Library:
    """libvlm's side: one directory whose chat template is written anew for every template."""

    def __init__(self, path: str, folder: str) -> None:
        self.library = ctypes.CDLL(path)
        self.library.vlm_template_render.restype = ctypes.c_int
        self.library.vlm_string_free.argtypes = [ctypes.c_void_p]
        self.folder = Path(folder)
        self.template: str | None = None

    def __call__(self, template: str, variables: dict) -> tuple[str | None, str]:
        """The text and "", or None and why."""
        file = self.folder / "chat_template.jinja"
        if template != self.template:
            file.write_bytes(template.encode("utf-8"))
            self.template = template
        given = {**variables, "_now": NOW}
        messages = given.pop("messages", [])
        out = ctypes.c_void_p()
        error = Error()
        status = self.library.vlm_template_render(
            ctypes.byref(out), str(self.folder).encode(), json.dumps(messages).encode(), json.dumps(given).encode(), None, ctypes.byref(error)
        )
        if status < 0:
            return None, error.message.decode("utf-8", "replace").replace(f"{file}:", "")
        result = ctypes.string_at(out).decode("utf-8")
        self.library.vlm_string_free(out)
        return result, ""


# Refusals of docs/TEXT.md: integers beyond 64 bits, long texts, and slices of constants that jinja2 folds into nothing.
KNOWN = ("does not fit 64 bits", "object cannot be sliced", "more than 4194304 bytes")


# Why a render is refused, by what either side says; raise_exception's messages are compared instead.
CAUSES = {
    "unknown filter or test": r"[Nn]o (filter|test) named", "attribute that the sandbox hides": r"is unsafe", "attribute set of no namespace": r"non-namespace object",
    "endless recursion": r"recursion depth|nest deeper|nests too deep|nest too deep", "undefined": r"undefined|has no (attribute|element)|No caller",
    "no JSON": r"JSON serializable", "operands of other types": r"can only concatenate|unsupported operand|can't multiply|not supported between|bad operand|multiply sequence",
    "not iterable, or without a length": r"is not iterable|has no len|must be an iterable|item pairs from a mapping",
}  # fmt: skip


def cause_of(message: str) -> str:
    return next((name for name, pattern in CAUSES.items() if re.search(pattern, message)), "other")


class Tally:
    def __init__(self, shown: int) -> None:
        self.same = self.refused = self.known = self.differ = 0
        self.shown = shown
        self.causes: Counter[tuple[str, str]] = Counter()  # of renders refused by both: jinja2's, libvlm's

    def unlike(self) -> int:
        """Renders that both refuse, but each for a reason of its own."""
        return sum(n for (theirs, ours), n in self.causes.items() if theirs != ours)

    def note(self, expected: Exception, got: str) -> None:
        raised = type(expected).__name__ == "TemplateError"
        theirs = "raise_exception" if raised else cause_of(str(expected))
        self.causes[theirs, "raise_exception" if raised else cause_of(got)] += 1

    def take(self, what: str, expected: str | Exception, got: tuple[str | None, str]) -> None:
        if isinstance(expected, str):
            good = got[0] == expected
        else:
            raised = type(expected).__name__ == "TemplateError"  # raise_exception's own
            good = got[0] is None and (not raised or first_line(str(expected)) in got[1])
        if not good and any(reason in got[1] for reason in KNOWN):
            self.known += 1
        elif good and isinstance(expected, str):
            self.same += 1
        elif good:
            self.refused += 1
            self.note(expected, got[1])
        else:
            self.differ += 1
            if self.differ <= self.shown:
                print(f"{what}\n  jinja2: {expected!r}\n  libvlm: {got[0] if got[0] is not None else 'error ' + got[1]!r}")

    def __str__(self) -> str:
        total = self.same + self.refused + self.known + self.differ
        lines = [f"{total} renders: {self.same} identical, {self.refused} refused by both, {self.known} refused by libvlm as docs/TEXT.md says, {self.differ} differ"]
        for (theirs, ours), n in sorted(self.causes.items(), key=lambda item: -item[1]):
            lines.append(f"  {n:6} refused by both: {theirs if theirs == ours else f'{theirs}; libvlm: {ours}'}")
        return "\n".join(lines)


def first_line(message: str) -> str:
    return message.split("\n")[0][:300]


def cases_of(value: object) -> list[tuple[str, dict]]:
    """Templates with data of their own in a list of test cases."""
    entries = value.get("cases", []) if isinstance(value, dict) else value if isinstance(value, list) else []
    common = {k: value[k] for k in ("messages", "add_generation_prompt") if isinstance(value, dict) and k in value}
    return [
        (entry["template"], {**common, **entry.get("data", {}), **{k: entry[k] for k in ("bos_token", "eos_token") if k in entry}})
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("template"), str)
    ]


def embedded(value: object) -> list[str]:
    """Every chat_template in a JSON value."""
    if isinstance(value, list):
        return [source for item in value for source in embedded(item)]
    if not isinstance(value, dict):
        return []
    own = value.get("chat_template")
    found = [own] if isinstance(own, str) else []
    if isinstance(own, list):  # lines of one, or named ones
        found = ["\n".join(own)] if all(isinstance(line, str) for line in own) else [named["template"] for named in own]
    return found + [source for item in value.values() for source in embedded(item)]


def collect(folder: Path) -> tuple[dict[str, str], dict[str, list[tuple[str, dict]]]]:
    """Name by source of all different templates below a folder; cases by file name."""
    sources: dict[str, str] = {}
    cases: dict[str, list[tuple[str, dict]]] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix in (".jinja", ".jinja2"):
            sources.setdefault(path.read_text(encoding="utf-8"), name)
        elif path.suffix == ".json":
            value = json.loads(path.read_text(encoding="utf-8"))
            for source in embedded(value):
                sources.setdefault(source, name)
            if found := cases_of(value):
                cases[name] = found
                for source, data in found:
                    if "messages" in data:
                        sources.setdefault(source, name)
    return sources, cases


def comparable(expected: str | Exception) -> bool:
    """Not what jinja2 spoils itself (it folds 'inf'|float into the name inf), nor what depends on Python's version."""
    spoilt = isinstance(expected, NameError) or "takes no keyword arguments" in str(expected)
    if isinstance(expected, str):
        if "\0" in expected:  # where the text that the library gives ends
            return False
        small = expected.lower()
        if "at 0x" in small or "at 0x" in small[::-1]:  # an address, whatever filters made of it
            return False
    return t.comparable(expected) and not (isinstance(expected, Exception) and spoilt)


# docs/TEXT.md: what escape and safe give is plain text.
MARKED = re.compile(r"\|\s*(e|escape|forceescape|safe)\b.*escaped", re.DOTALL)


def compare_files(program: Library, folder: Path, shown: int) -> int:
    sources, cases = collect(folder)
    tally = Tally(shown)
    for source, name in sources.items():
        for label, given in CONVERSATIONS.items():
            for prompt in (True, False):
                variables = {**TOKENS, **given, "add_generation_prompt": prompt}
                tally.take(f"{name}, {label}, prompt {prompt}", t.reference(source, variables), program(source, variables))
    print(f"{len(sources)} templates x {len(CONVERSATIONS)} conversations x 2: {tally}")
    own = Tally(shown)
    for name, found in cases.items():
        for source, data in found:
            expected = t.reference(source, data)
            if comparable(expected):
                own.take(f"{name}: {source!r}", expected, program(source, data))
    print(f"cases with data of their own: {own}")
    return tally.differ + tally.unlike() + own.differ


def compare_random(program: Library, count: int, seed: int, shown: int) -> int:
    rng = random.Random(seed)
    tally = Tally(shown)
    for _ in range(count):
        source = draw_template(rng)
        expected = t.reference(source, copy.deepcopy(t.VARIABLES))
        if comparable(expected) and not t.FOLDED.search(source) and not MARKED.search(source):
            tally.take(source, expected, program(source, t.VARIABLES))
    print(f"random templates: {tally}")
    return tally.differ


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("library")
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--random", type=int, default=20000, help="random templates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", type=int, default=20, help="differences to print of each part")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        program = Library(options.library, folder)
        differ = compare_files(program, options.folder, options.show) if options.folder else 0
        differ += compare_random(program, options.random, options.seed, options.show)
    sys.exit(1 if differ else 0)


if __name__ == "__main__":
    main()
