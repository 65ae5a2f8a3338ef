# SPDX-License-Identifier: MIT
"""Golden of the message formats: what mlx-vlm gives the chat template of every model type in its table.

`python -m golden.message_formats` (in tools/, with mlx-vlm 0.7.10 installed) writes tests/data/message_formats.json: for each type the group it
is in, whether it takes a single image, and per group the messages of every case. The messages are those of `get_message_json` and
`apply_chat_template(return_messages=True)`; where libvlm means to differ, `intended` says how and why.
"""

from __future__ import annotations

import copy
import json
from importlib.metadata import version
from pathlib import Path

from mlx_vlm.prompt_utils import MODEL_CONFIG, SINGLE_IMAGE_ONLY_MODELS, MessageFormat, apply_chat_template, get_message_json

OUT = Path(__file__).resolve().parents[2] / "tests/data/message_formats.json"

# The types whose videos mlx-vlm shows; the list stands in the middle of a function.
VIDEO_TYPES = {key for key in MODEL_CONFIG if '"video"' in json.dumps(get_message_json(key, "x", video="v"))}
TEXT_FORMATS = {
    MessageFormat.IMAGE_TOKEN, MessageFormat.IMAGE_TOKEN_PIPE, MessageFormat.IMAGE_PATCH_TOKEN, MessageFormat.START_IMAGE_TOKEN,
    MessageFormat.IMAGE_TOKEN_NEWLINE, MessageFormat.SINGLE_IMAGE_TOKEN, MessageFormat.IMAGE_TOKEN_WRAPPED,
    MessageFormat.NUMBERED_IMAGE_TOKENS, MessageFormat.PROMPT_ONLY, MessageFormat.TEXT_ONLY, MessageFormat.PROMPT_WITH_IMAGE_TOKEN,
}


def turn(role: str, text: str, images: int = 0, videos: int = 0) -> dict:
    return {"role": role, "text": text, "images": images, "videos": videos}


IMAGE, URL = {"type": "image"}, {"type": "image_url", "image_url": {"url": "a.png"}}
CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": {"x": 1}}}


def text(words: str, kind: str = "text") -> dict:
    return {"type": kind, "text": words}


# Cases of turns go through vlm_input_add_message, cases of messages through vlm_input_set_messages; `images` and `videos` are those
# that nothing shows.
CASES = {
    "text": {"turns": [turn("user", "Hi")]},
    "one image": {"turns": [turn("user", "What is it?", 1)]},
    "two images": {"turns": [turn("user", "Compare.", 2)]},
    "three images": {"turns": [turn("user", "", 3)]},
    "system": {"turns": [turn("system", "Be brief."), turn("user", "What is it?", 1)]},
    "typed placeholder": {"turns": [turn("user", "<image> <|image_1|> <start_of_image> é", 1)]},
    "several turns": {"turns": [turn("user", "One?", 1), turn("assistant", "A cat."), turn("user", "And?", 1), turn("assistant", "A dog."),
                                turn("user", "Both?")]},
    "one video": {"turns": [turn("user", "What happens?", 0, 1)]},
    "two videos and an image": {"turns": [turn("user", "What happens?", 1, 2)]},
    "strings, loose image": {"messages": [{"role": "system", "content": "S"}, {"role": "user", "content": "a"},
                                          {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}], "images": 1},
    "loose image, an answer last": {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "images": 1},
    "in order": {"messages": [{"role": "user", "content": [text("Left:"), IMAGE, text("right:"), IMAGE, text("?")]}]},
    "of its message": {"messages": [{"role": "user", "content": [URL, text("First.")]}, {"role": "assistant", "content": "A cat."},
                                    {"role": "user", "content": [text("And?")]}]},
    "of each message": {"messages": [{"role": "user", "content": [IMAGE, text("a")]}, {"role": "assistant", "content": [text("b")]},
                                     {"role": "user", "content": [text("c"), IMAGE]}]},
    "responses API": {"messages": [{"role": "user", "content": [text("a", "input_text"), {"type": "input_image"}]},
                                   {"role": "assistant", "content": [text("b", "output_text")]}]},
    "texts": {"messages": [{"role": "user", "content": [text("one"), text("two")]}]},
    "tools": {"messages": [{"role": "user", "content": [IMAGE, text("a")]}, {"role": "assistant", "content": None, "tool_calls": [CALL]},
                           {"role": "tool", "content": "{\"y\": 2}", "tool_call_id": "c1"}, {"role": "assistant", "content": "b"}]},
}


def shown(content) -> int:
    kinds = ("image", "image_url", "input_image")
    return sum(part["type"] in kinds for part in content) if isinstance(content, list) else 0


def reference(key: str, case: dict):
    """mlx-vlm's messages; None: it refuses."""
    try:
        if "messages" in case:
            images = case.get("images", 0) + sum(shown(m["content"]) for m in case["messages"])
            return apply_chat_template(None, {"model_type": key}, copy.deepcopy(case["messages"]), return_messages=True, num_images=images)
        out = []
        for t in case["turns"]:
            video = {"video": ["v"] * t["videos"]} if t["videos"] else {}
            out.append(get_message_json(key, t["text"], t["role"], num_images=t["images"], skip_image_token=t["images"] == 0, **video))
        return out
    except ValueError:
        return None


def roles(case: dict) -> list[str]:
    return [m["role"] for m in case.get("turns") or case["messages"]]


def intended(key: str, name: str, case: dict, messages: list) -> list:
    """What libvlm gives instead: each change is one that a checkpoint needs, or that says the same."""
    form, listed = MODEL_CONFIG[key], MODEL_CONFIG[key] not in TEXT_FORMATS
    # A prompt without a role is its message's content; the roles of the others are not lost.
    messages = [{"role": role, "content": m} if isinstance(m, str) else m for role, m in zip(roles(case), messages)]
    for m in messages:
        for part in m["content"] if isinstance(m["content"], list) else []:
            # Twice the same text; transformers gives it once.
            part.pop("content", None)
            if part["type"] == "video":  # the path of a file and sizes that no template prints
                part.clear()
                part["type"] = "video"
    videos = sum(t["videos"] for t in case.get("turns", []))
    if videos and listed and key not in VIDEO_TYPES:
        # mlx-vlm drops the videos; here they have a place wherever images are parts, and a template that knows none is found out by the count.
        content = messages[0]["content"]
        images = [p for p in content if p["type"].startswith("image")]
        messages[0]["content"] = images + [{"type": "video"}] * videos + [p for p in content if p not in images]
    if name == "texts" and listed:
        # transformers keeps parts apart.
        messages[0]["content"] = copy.deepcopy(case["messages"][0]["content"])
    if form is MessageFormat.NUMBERED_IMAGE_TOKENS:
        # Numbers start again in every message there, which names the first image twice: Phi's processors want 1..n in the whole chat.
        n = 0
        for m in messages:
            for i in range(m["content"].count("<|image_") if m["role"] == "user" else 0):
                if name == "typed placeholder":
                    break
                m["content"] = m["content"].replace(f"<|image_{i + 1}|>", f"<|#{n + 1}|>", 1)
                n += 1
            m["content"] = m["content"].replace("<|#", "<|image_")
    if form is MessageFormat.SINGLE_IMAGE_TOKEN:
        # Its processor puts all images where the one token is; here every image has a token, side by side.
        for m, source in zip(messages, case.get("turns") or case["messages"]):
            n = source["images"] if "turns" in case else shown(source["content"])
            if n > 1:
                m["content"] = m["content"].replace("<image>", "<image>" * n, 1)
    if form is MessageFormat.PROMPT_WITH_IMAGE_TOKEN and "messages" in case:
        # Parts in order, as in the other formats of tokens; there all images come first.
        for m, source in zip(messages, case["messages"]):
            if shown(source["content"]):
                m["content"] = "".join(p.get("text", "<image>") for p in source["content"])
    return messages


def main() -> None:
    groups, types = [], {}
    for key in MODEL_CONFIG:
        results = []
        for name, case in CASES.items():
            messages = reference(key, case)
            results.append(messages and intended(key, name, case, copy.deepcopy(messages)))
        if results not in groups:
            groups.append(results)
        types[key] = {"group": groups.index(results), "single": key in SINGLE_IMAGE_ONLY_MODELS}
    golden = {"reference": f"mlx-vlm {version('mlx-vlm')}", "cases": [{"name": n, **c} for n, c in CASES.items()], "types": types,
              "groups": groups}
    lines = [f"{json.dumps(k)}: {json.dumps(golden[k], ensure_ascii=False)}" for k in ("reference", "types")]
    for k in ("cases", "groups"):
        lines.append(f"{json.dumps(k)}: [\n" + ",\n".join(json.dumps(v, ensure_ascii=False) for v in golden[k]) + "\n]")
    OUT.write_text("{" + ",\n".join(lines) + "}\n", encoding="utf-8")
    print(f"{len(types)} types, {len(groups)} groups, {len(CASES)} cases")


if __name__ == "__main__":
    main()
