# SPDX-License-Identifier: MIT
"""Goldens of the tool call parsers: what mlx-vlm makes of the samples below and of damaged copies of them.

`python -m golden.tool_calls` (in tools/, with mlx-vlm 0.7 installed) writes tests/data/calls/<format>.json and
templates.json. Each entry is {"text", "calls": [{"name", "arguments"}], "content"}: content is the text with every span
of calls replaced by a blank, stripped where there was one. `--seeds N` draws N damaged copies of each sample.
"""

from __future__ import annotations

import argparse
import json
import logging
import random
import re
import warnings
from pathlib import Path

from mlx_vlm.tools import SPECS, load_tool_module, process_tool_calls
from mlx_vlm.tools.registry import _infer_tool_parser

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / "tests/data/calls"
logging.disable(logging.WARNING)
warnings.simplefilter("ignore")

TOOLS = [
    {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {
        "city": {"type": "string"}, "days": {"type": "integer"}, "scale": {"type": "number"}, "exact": {"type": "boolean"},
        "where": {"type": "object", "properties": {"lat": {"type": "number"}, "name": {"type": "string"}}},
        "tags": {"type": "array", "items": {"type": "string"}}, "unit": {"enum": ["C", "F"]},
        "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "free": {}, "list": {"type": "list[int]"},
        "odd": {"type": "tuple"}}}}},
    {"type": "function", "function": {"name": "now", "parameters": {"type": "object", "properties": {}}}},
    {"type": "function", "function": {"name": "bare", "parameters": {}}},
]

JSONS = [
    '{"city": "Paris", "days": 3}', "{}", '{"where": {"lat": 48.85, "name": "caf\u00e9 \U0001f600"}, "tags": ["a", "b\\n"]}',
    '{"big": 123456789012345678901234567890, "f": 1e20, "g": 1.0, "h": 1e15, "t": 0.00001, "n": null, "b": true}',
    '{"city": "a </tool_cal> { [ \\" \\\\ b", "x": {"y": [1, [2, {"z": []}]]}}', '{"a": 1, "a": 2}',
    '{"u": "\\u00e9\\ud83d\\ude00\\u0000"}', '{"x": NaN, "y": -Infinity}', '{"days": 1,}', "", "[1, 2]", '"text"', "5",
]
LITERALS = [
    "{'a': 1, 'b': [True, None, -2.5]}", "('x', 2)", "1, 2", "1,", "'it''s'", '"a\\x41\\u00e9\\101"', "r'\\n'", "b'x'", "{1, 2}",
    "0x1F", "1_000", "007", "1e3", ".5", "5.", "-3", "--3", "+1", "1+2j", "...", "set()", "()", "[]", "{}", "[1, 2,]", "(1)", "((1,),)",
    "'''multi\nline'''", "f'x'", "name", "{1: 2, None: 3, 'k': (4,)}", "{[1]: 2}", "0x742d35Cc6634C0532925a3b844Bc454e4438f44e",
    "'unclosed", "[1 2]", "  7", "[1, # c\n 2]", "True", "None", "true", "null", "{'a': {1}}", "-0.0", "1e400", "1__0", "0b101", "0o17",
    "'a' 'b'", "u'x'", "\"\\N{BULLET}\""[:3] + '"', "caf\u00e9", "\u00a01", "[[[[1]]]]", "1 if", "- 1", "(-1)", "-(-1)", "2024-01-05", "12:30",
]
TYPED = ["3", " 3 ", "x", "3.0", "3.5", "1e3", "true", "False", "yes", "null", "NULL", "", "[1, 2]", '{"a": 1}', "{'a': 1}", "1_0", "-7",
         "+5", "inf", "nan", "\n5\n", "a\nb", "a </param b", "12345678901234567890", "['x']", "(1, 2)", "none"]
KEYS = ["city", "days", "scale", "exact", "where", "tags", "unit", "either", "free", "list", "odd", "unknown"]


def wrap(*bodies: str, start: str, end: str) -> list[str]:
    return [start + b + end for b in bodies]


def json_tools() -> list[str]:
    calls = ['{"name": "get_weather", "arguments": ' + j + "}" for j in JSONS]
    calls += ['{"name": " f ", "arguments": {}}', '{"name": 5, "arguments": {}}', '{"name": "f"}', '{"arguments": {}}', "5", "[]", "{}",
              '[{"name": "a", "arguments": {}}, {"name": "b", "arguments": {"x": 1}}]',
              '[{"name": "a", "arguments": {}}, {"name": "b"}, {"name": "c", "arguments": {}}]',
              '{"name": "f", "arguments": "{\\"a\\": 1}"}', '{"name": "f", "arguments": null}', "[" * 40 + "]" * 40]
    texts = wrap(*calls, start="<tool_call>\n", end="\n</tool_call>")
    return texts + ["  Let me see. " + texts[0] + "\n" + texts[2] + " done ", "<tool_call> never closed", "a <tool_call>{</tool_call> b",
                    texts[0] + "<tool_call>{", "no call at all ", "<tool_call></tool_call>", "</tool_call> x <tool_call>", "<tool_cal"]


def tagged_values() -> list[tuple[str, str]]:
    return [(k, v) for k in KEYS for v in TYPED]


def qwen3_coder() -> list[str]:
    def call(name: str, *pairs: tuple[str, str]) -> str:
        body = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in pairs)
        return f"<tool_call>\n<function={name}>\n{body}</function>\n</tool_call>"

    texts = [call("get_weather", pair) for pair in tagged_values()]
    texts += [call("other", ("a", v)) for v in TYPED] + [call("get_weather", *zip(KEYS, ["Paris", "3", "2.5", "true", "{}", "[]"])), call("now")]
    texts += ["<tool_call><function=f></function></tool_call>", "<tool_call><function=f></function> </tool_call>",
              "<tool_call><function=f><parameter=a>1</function></tool_call>", "<tool_call><function=f</function></tool_call>",
              "<tool_call>\n<function=get_weather>\n<parameter=city>\n<parameter=days>\n</parameter>\n<parameter=days>\nx\n</function>\n</tool_call>",
              "<tool_call><function=f><parameter=a>1</parameter><parameter=b</parameter></function>\n</tool_call>",
              "<tool_call><function=a></function><function=b></function></tool_call>", "<tool_call>{}</tool_call>", "x" + call("now") + "y" + call("now")]
    return texts


def pairs(start: str, end: str, p: str) -> list[str]:
    def call(name: str, *items: tuple[str, str], gap: str = "\n") -> str:
        return start + name + gap + "".join(f"<{p}arg_key>{k}</{p}arg_key>{gap}<{p}arg_value>{v}</{p}arg_value>{gap}" for k, v in items) + end

    texts = [call("get_weather", ("city", v), ("days", v), ("x", v)) for v in JSONS + LITERALS + TYPED]
    texts += [call("now"), call("get_weather", ("city", "Paris"), gap="\\n"), call("f", ("a", f"</{p}arg_key><{p}arg_value>"), gap=" "),
              start + f"f<{p}arg_key>a</{p}arg_key>x</{p}arg_key> <{p}arg_value>1</{p}arg_value>" + end, start + f"f<{p}arg_key>a" + end,
              start + f"f<{p}arg_key>a</{p}arg_key><{p}arg_value>1" + end, start + f"<{p}arg_key>a</{p}arg_key><{p}arg_value>1</{p}arg_value>" + end,
              call("a", ("x", "1")) + " and " + call("b", ("x", "'q'"))]
    return texts + wrap(*(f'{{"name": "f", "arguments": {j}}}' for j in JSONS), start=start, end=end)


def glm47() -> list[str]:
    words = ["now", " now ", "", "get_weather city=Paris days=3", "get_weather city='New York' days=\"3\"", "f a=1 b", "f x y z", "f a=", "f =1",
             "f a='unclosed", "f a=b\\ c d=\"e\\\"f\\g\"", 'f {"a": 1}', "f {'a': '1', 'b': \"x\"}", 'f\n{"a": "2"}', "get_weather\n{'city': 5, 'days': '7'}",
             "f\nnot an object", "f [1, 2]", "f {1, 2}", "f {'a': {1}}", "f # a=1", "f a=1\tb=2",
             '{"function": "f", "arguments": {"a": "1"}}', '{"function": {"name": "f", "arguments": {"a": 1}}, "arguments": null}',
             '{"tool": {"name": "f", "arguments": "{\\"a\\": 1}"}}', '{"name": "get_weather", "arguments": {"city": [1, "a\'b", {"k": null}], "days": "3"}}',
             '{"name": "get_weather", "arguments": {"city": 2.50}}', '[{"name": "f", "arguments": {}}]', "[]", "[5]", '{"name": 5, "arguments": {}}',
             '{"name": "f", "arguments": 5}', '{"name": "f", "arguments": null}', '{"a": 1}', "\u00a0f\u2003x=1"]
    return pairs("<tool_call>", "</tool_call>", "") + wrap(*words, start="<tool_call>", end="</tool_call>")


def longcat() -> list[str]:
    return pairs("<longcat_tool_call>", "</longcat_tool_call>", "longcat_")


def kimi_k2() -> list[str]:
    arg = "<|tool_call_argument_begin|>"

    def section(*calls: str) -> str:
        return "<|tool_calls_section_begin|>" + "".join(f"<|tool_call_begin|>{c}<|tool_call_end|>" for c in calls) + "<|tool_calls_section_end|>"

    texts = [section(f"functions.get_weather:0{arg}{v}") for v in JSONS + LITERALS]
    return texts + [section(f"functions.a:0{arg}{{}}", f"functions.b:1{arg} {{'x': 1}} "), section(f"a:0{arg}{{}}", "broken", f"b:1{arg}{{}}"),
                    f"<|tool_calls_section_begin|>functions.a:12 {arg}{{}}<|tool_calls_section_end|> tail", section(f"f:x{arg}{{}}"),
                    section(f"f{arg}:1{arg}{{}}"), section(f"functions.:0{arg}{{}}"), section(f":0{arg}{{}}"), section(f" a:b:3\n{arg}\n[]"),
                    section(f"a:0{arg}{{1}}", f"b:1{arg}{{}}"), section(f"a:0{arg}{{}}", f"b:1{arg}{{1}}"), section()]


def mistral() -> list[str]:
    texts = ["[TOOL_CALLS]get_weather[ARGS]" + j for j in JSONS] + ["[TOOL_CALLS]" + json.dumps([{"name": "f", "arguments": {"x": i}}, {"name": "g"}]) for i in (1, "a")]
    return texts + ["[TOOL_CALLS] f [ARGS]{}", "[TOOL_CALLS]f[ARGS] {} tail\nmore", "[TOOL_CALLS]f[ARGS]{\n}", '[TOOL_CALLS]{"name": "f", "arguments": {}}',
                    "[TOOL_CALLS]{\"name\": 5}", "[TOOL_CALLS][]", "[TOOL_CALLS]", "[TOOL_CALLS]\n", "hi [TOOL_CALLS]f[ARGS]{}\n[TOOL_CALLS]g[ARGS]{}",
                    "[TOOL_CALLS]a b[ARGS]{}", "[TOOL_CALLS]caf\u00e9[ARGS]{}", "[TOOL_CALLS]-[ARGS]{}", "[TOOL_CALLS][ARGS]{}x[ARGS]{}", "[TOOL_CALL",
                    '[TOOL_CALLS][{"name": "a", "arguments": {}}, {"x": 1}]', '[TOOL_CALLS][{"name": "a"}, {"name": null}, {"name": "b"}]', "[TOOL_CALLS]f[ARGS]{}\n\n"]


def harmony() -> list[str]:
    start, end = "<|channel|>commentary to=", "<|call|>"
    texts = wrap(*(f"functions.get_weather <|constrain|>json<|message|>{j}" for j in JSONS), start=start, end=end)
    return texts + wrap("f", "functions.", "functions.f", "<|message|>{}", " g<|message|> text ", "a|b<|message|>{}", "", "caf\u00e9\u00a0x<|message|>{}", start=start, end=end)


def cohere2_moe() -> list[str]:
    start, end = "<|START_ACTION|>", "<|END_ACTION|>"
    calls = [f'[{{"tool_call_id": "0", "tool_name": "get_weather", "parameters": {j}}}]' for j in JSONS]
    return wrap(*calls, '{"tool_name": "f"}', '{"name": "f", "parameters": {"re": "a\\|b\\\\|c"}}', '[{"tool_name": "a"}, {"x": 1}]', '[{"tool_name": 5}]', "[]",
                '[{"tool_name": "a"}, {"tool_name": 5}, {"tool_name": "c"}]', '{"tool_name": "", "name": "n"}', "5", start=start, end=end)


def minimax_m2() -> list[str]:
    def call(name: str, *items: tuple[str, str]) -> str:
        return f"<invoke name={name}>\n" + "".join(f'<parameter name="{k}">{v}</parameter>\n' for k, v in items) + "</invoke>\n"

    bodies = [call('"get_weather"', pair) for pair in tagged_values()]
    bodies += [call('"now"'), call('"get_weather"', ("city", "a"), ("days", "2")) + call("'now'"), call("now", ("a", "1")), "<invoke name=>x</invoke>",
               '<invoke name="f"></invoke>', '<invoke name="f"><parameter name=x>1</parameter><parameter name="y"</parameter></invoke>', "none", '<invoke name="f">',
               call('"other"', ("a", " x ")), call('"')]
    return wrap(*bodies, start="<minimax:tool_call>\n", end="</minimax:tool_call>")


def minimax_m3() -> list[str]:
    m = "]<]minimax[>["

    def tag(name: str, inner: str) -> str:
        return f"{m}<{name}>{inner}{m}</{name}>"

    def call(inner: str, attrs: str = ' name="get_weather"') -> str:
        return f"{m}<invoke{attrs}>{inner}{m}</invoke>"

    bodies = [call(tag(k, v)) for k, v in tagged_values()] + [call(tag("a", v), ' name="other"') for v in TYPED]
    bodies += [call(""), call(tag("where", tag("lat", "48.85") + tag("name", "7") + tag("x", "true"))), call(tag("tags", tag("item", "1") + tag("item", "b"))),
               call(tag("free", tag("item", "1") + tag("item", "x"))), call(tag("a", "1") + tag("a", "2") + tag("b", "3") + tag("a", "4")), call(tag("free", "text" + tag("k", "v") + " more ")),
               call(tag("free", tag("$text", "1") + "mixed")), call(tag("tags", "lead" + tag("item", "x"))), call(tag("where", "note" + tag("lat", "1"))),
               call(tag("a", "1"), " name='f'"), call(tag("a", "1"), " name=f"), call(tag("a", "1"), " x"), call(tag("a", tag("b", tag("c", "1")))) + call("", ' name="now"'),
               call(f"{m}<a>1"), call(f"{m}<a>1{m}</b>"), call(f"{m}</a>"), call("text" + tag("a", "1")), call(tag("1a", "x")), call(tag("a.b-c:d", "x")), "none", call(tag("a", tag("item", "1") + "x"))]
    return wrap(*bodies, start=f"{m}<tool_call>\n", end=f"{m}</tool_call>")


def atem() -> list[str]:
    def call(name: str, *items: tuple[str, str]) -> str:
        return f'<atem:invoke name="{name}">\n' + "".join(f'<atem:parameter name="{k}" string="false">{v}</atem:parameter>\n' for k, v in items) + "</atem:invoke>\n"

    bodies = [call("get_weather", ("city", v)) for v in JSONS + TYPED]
    bodies += [call("a") + call("b", ("x", "1"), ("x", "2")), '<atem:invoke id="1" name="f"></atem:invoke>', '<atem:invoke name="f" id="1"></atem:invoke>', '<atem:invoke name="f">', "none",
               '<atem:invoker name="f"></atem:invoke>', '<atem:invoke xname="f"></atem:invoke>', '<atem:invoke name=""></atem:invoke>', '<atem:invoke name="a>b"></atem:invoke>']
    return wrap(*bodies, start="to=self<|message|>thinking<atem:function_calls>\n", end="</atem:function_calls>")


def gemma4() -> list[str]:
    q = '<|"|>'
    bodies = [f"call:get_weather{{city:{q}Paris{q},days:3}}", "call:now{}", "now{}", ":now{}", f"call:a.b-c:d{{x:{q}caf\u00e9 \U0001f600{q}}}", f"call:f{{a:[1,{q}x,y{q},[2,[]]],b:{{c:{{d:1}}}}}}",
              f"call:f{{a:{q}{{x}}, [y]:z{q}}}", "call:f{a:true,b:null,c:1.50,d:bare text,e:\"q\"}", "call:f{a:1,,b:2,}", "call:f{a}", "call:f{:1}", "call:f{a:}", "call:f{a:1", f"call:f{{a:{q}open", "call:f", "{}",
              "text call:f{a:1} more", "call:f{a:{b:{c:{d:{e:1}}}}}", "call:f{a:[}", "call:f { }", "call:f{ a : 1 , b : [ 2 , 3 ] }", f"call:f{{{q}k:y{q}:1}}", "call:f{a:1,a:2}", "call: f{a:1}", "x:y{a:1}"]
    return wrap(*bodies, start="<|tool_call>", end="<tool_call|>") + ["Sure.<|tool_call>call:a{}<tool_call|>\n<|tool_call>call:b{x:1}<tool_call|> ok"]


def minicpm5() -> list[str]:
    def call(*items: tuple[str, str], name: str = "get_weather") -> str:
        return f'<function name="{name}">' + "".join(f'<param name="{k}">{v}</param>' for k, v in items) + "</function>"

    texts = [call((k, v)) for k, v in tagged_values() if "<" not in v and k in ("city", "days", "free")] + [call(("a", v)) for v in LITERALS if "<" not in v]
    return texts + [call(), call(("a", "&lt;b&gt; &amp; &#65;&#x42;")), call(("a", "<![CDATA[<x> & y]]>")), call(("a", "x<!-- c -->y")), call(("a", "1"), ("a", "2")), call(("a", "<b>x</b>")),
                    call(("a", "&nbsp;")), call(("a", "&")), '<function name="f">text<param name="a">1</param>tail</function>', "<function name='f'><param name='a'/></function>", "<function></function>",
                    '<function name=""></function>', '<function name="f"><other>x</other></function>', '<function name="f"><param>x</param></function>', '<function name="f" name="g"></function>',
                    '<function id="1" name="f"><param name="a" type="x">1</param ></function>', '<function name="a&amp;b"><param name="c&#10;d"> v </param></function>', call(("a", "]]>")),
                    "a " + call(("city", "Oslo")) + " b " + call(name="now"), "<function name=f></function>", '<function name="f"/></function>', '<function name="f"><param name="a">1</function>', call(("a", "x\r\ny"))]


def pythonic() -> list[str]:
    bodies = ["[get_weather(city='Paris', days=3)]", "[now()]", "[now(), get_weather(city=\"x\")]", "[f(a=[1, (2,)], b={'k': None})]", "[f(a='it''s')]", "[f(a=\"say \"hi\" now\")]", "[f(a=\"a\", b=\"x \"y\", z\")]",
              "[f(1)]", "[f(a=1, 2)]", "[f(a=x)]", "[f(a=1, a=2)]", "[f(**{})]", "f(a=1)", "[]", "[f]", "[f(a=1),]", "[ f ( a = 1 , ) ]", "[f(a=1)", "[f(a=)]", "[a.b(x=1)]", "[f(a={1})]", "[f(a=1), g(b={1})]",
              "[f(\na=1,\n# note\nb=2)]", "[f(a='x', b=\"q\" r\")]", "[f(a=-1, b=+2.5, c=1e3)]", "[f(a=True, b=None)] ", "[caf\u00e9(x=1)]", "[f(a=')')]", "[f(a=\"(\"b\")]", "", "5"] + [f"[f(a={v})]" for v in LITERALS]
    return wrap(*bodies, start="<|tool_call_start|>", end="<|tool_call_end|>")


def damaged(text: str, rng: random.Random) -> str:
    at = rng.randrange(len(text) + 1)
    kind = rng.randrange(5)
    if kind == 0:
        return text[:at]
    if kind == 1:
        return text[:at] + text[at + rng.randrange(1, 4):]
    if kind == 2:
        return text[:at] + rng.choice(['"', "'", "{", "}", "[", "]", "<", ">", ",", ":", " ", "\n", "\\", "=", "(", ")", "1", "x", "\u00e9"]) + text[at:]
    other = rng.randrange(len(text) + 1)
    return text[:at] + text[min(at, other):max(at, other)] + text[at:] if kind == 3 else text[:at] + " " + text + text[at:]


def differs(name: str, text: str) -> bool:
    """Where the library deliberately does better, see docs/TEXT.md."""
    if name == "gemma4":  # brackets and markers in strings end nothing; the first "call:" counts
        return bool(re.search(r'<\|"\|>', text) and re.search(r'<\|"\|>[^<]*[{}\[\]]', text)) or text.count("call:") > 1
    if name == "mistral":  # several calls in one line
        return any(line.count("[TOOL_CALLS]") > 1 for line in text.split("\n"))
    if name == "minicpm5":  # an exception that no one expects
        return "{[1]: 2}" in text
    return False


def reference(name: str, text: str) -> dict:
    result = process_tool_calls(text, load_tool_module(name), TOOLS)
    calls = [c["function"] for c in result.calls]
    if name == "gemma4":  # the only one that escapes what is not ASCII
        for call in calls:
            call["arguments"] = json.dumps(json.loads(call["arguments"]), ensure_ascii=False)
    return {"text": text, "calls": [{"name": c["name"], "arguments": c["arguments"]} for c in calls], "content": result.remaining_text}


def is_text(entry: dict) -> bool:
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return False
    return True


TEMPLATES = ["<tool_call>{{ tool_call.name }}", "<tool_call>\\n<function={{ tool_call.name }}", "<tool_call>\n<function=x tool_call.name", "<|tool_call>", "[TOOL_CALLS]", "<arg_key> <tool_call> tool_call.name",
             "<|tool_call_start|>", "<|tool_call_start|> <|tool_call_end|>", "<|tool_list_start|>", "<mm:think>", "]<]minimax[>[<tool_call>", "<minimax:tool_call>", "<function name= <param name=", "<function name=",
             "<longcat_tool_call>", "<|tool_calls_section_begin|>", "<|channel|>commentary <|call|>", "<|START_ACTION|>", "<atem:function_calls> <atem:invoke", "nothing", "<tool_call>"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(8)
    for spec in SPECS:
        texts = list(dict.fromkeys(globals()[spec.name]()))
        texts += [damaged(t, rng) for t in texts for _ in range(args.seeds)]
        entries = [reference(spec.name, t) for t in dict.fromkeys(texts) if not differs(spec.name, t)]
        entries = [e for e in entries if is_text(e)]
        lines = ",\n".join(json.dumps(e, ensure_ascii=False) for e in entries)
        (args.out / f"{spec.name}.json").write_text('{"tools": ' + json.dumps(TOOLS) + ', "samples": [\n' + lines + "\n]}\n")
        print(spec.name, len(entries), "samples,", sum(len(e["calls"]) for e in entries), "calls")
    found = [{"template": t, "format": _infer_tool_parser(t)} for t in TEMPLATES]
    (args.out / "templates.json").write_text(json.dumps(found, indent=0) + "\n")


if __name__ == "__main__":
    main()
