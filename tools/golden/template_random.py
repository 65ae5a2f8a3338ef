# SPDX-License-Identifier: MIT
"""Random templates over the variables of golden.templates: expressions of every operator, filter, test and method, number
formats of all three kinds, and statements with the white space around them. Left out is what jinja2 itself
gets wrong or prints with an address: powers of folded negative constants, text of generators. For golden.template_compare."""

from __future__ import annotations

import random

from golden.templates import ATOMS, FILTERS, METHODS, TESTS, VARIABLES

MORE_ATOMS = """'Hello World' 'a-b_c d' 'x\\ny\\n' '\\t' 'ÀÉ' 'ab' 'aXbXc' '-7' '+5' '1e5' ' 12 ' '1_0' 'nan' 'inf' '%d' '%5.1f' '{:>4}' '{0}' '{a}'
-1 1 2 3 255 1000000 -0.5 2.675 0.125 1e16 1e-7 123456.789 3.0 1e22 -1e-5 0.30000000000000004 5e-324 1.7976931348623157e308
(1,2) [[1,2],[3]] ['b','a','C'] [1,'a',none] {'k':'v','n':1} {1:2} [{'n':'a','v':1},{'n':'B','v':2}] range(4) range(5,0,-2) [true,false] 'ß' 'ǅ' 'İ'""".split()
MORE_FILTERS = """default default('x','y') map('int')|list map('string')|list map('length')|list map(attribute='n',default=0)|join('-')
map('default','z')|list select('number')|list select('string')|list reject('none')|list select('gt',1)|list select('in',[1,2])|list
selectattr('n','defined')|list selectattr('v','odd')|list rejectattr('n','undefined')|map(attribute='n')|list sum(start=1) sum('v',2)
sort(case_sensitive=true) sort(true) unique(true)|list unique(attribute='n')|list groupby('n')|map('first')|list groupby('v')|list
groupby('zz',default='q')|list items|map('first')|list dictsort(true) dictsort(false,'value') dictsort(reverse=true)|map('last')|list
batch(3)|map('join')|list slice(3)|map('list')|list slice(2,'f')|list round(2) round(3,'ceil') round(0) round(-2) round(2,'floor') int(base=16)
int('d',8) int(0,2) float(0.5) wordcount center(9)|length indent(1) indent('..') indent(2,false,true) indent(width=3,first=true)
truncate(5) truncate(7,true) truncate(6,false,'..') truncate(5,true,'',0) truncate(10,leeway=1) trim('l') trim('Hd') replace('','.') replace('o','0',1)
replace(' ','') urlencode escape e forceescape safe filesizeformat filesizeformat(true) title|lower upper|title capitalize|upper
tojson|length tojson(indent=1) tojson(separators=(',',': ')) tojson(indent='\\t') tojson(true) list|tojson list|string join('-')|upper attr('upper')
attr('nope') min|string max|string min(true) max(attribute='v') min(attribute='n') format('a') format('a','b') format(a=1) count nofilter|upper""".split()
MORE_TESTS = """eq(none) eq('a') ne('b') gt(0) ge(1) le(2.5) lessthan(5) greaterthan(5) ==(1) in('abc') in(d) sameas(true) sameas(false) divisibleby(2)
escaped filter test upper lower string notest none is_x""".split()
MORE_METHODS = """center(8) ljust(6) rjust(7,'0') zfill(8) zfill(2) casefold() expandtabs() expandtabs(2) isnumeric() isdecimal() isalnum() isascii()
isprintable() istitle() isidentifier() islower() splitlines(true) split(' ') split('o',-1) split(sep='l') split(maxsplit=1) rsplit() rsplit(none,1) rsplit(' ',0)
startswith('') startswith('e',1) startswith(('x',)) endswith('') endswith('l',0,4) find('l',3) find('') find('o',-3) find('l',2,3) rfind('') rfind('l',0,3)
index('l') rindex('l') count('o',5) count('ll') replace('l','L',1) replace('l','L',-1) replace('','x',2) strip('Hd') strip(none) lstrip() rstrip('\\n ')
partition(' ') rpartition(' ') removesuffix('ld') removeprefix('') join('ab') join([]) join(('x',)) join([1]) format() format(*[1,2,3]) format(a='x',b=2)
format_map({'a':1}) get(none) get('a',0) get(1) items()|list items()|length values()|list keys()|join(',') index('a') index(3) count(1) copy()|length pop() insert(0,1)
sort() reverse() extend([1]) update(a=1) setdefault('a',1) clear() remove(1) title()|length swapcase() __len__ nope nope.nope 0 1 a.b""".split()
ALL_ATOMS, ALL_FILTERS = [*ATOMS, *MORE_ATOMS], [*FILTERS, *MORE_FILTERS]
ALL_TESTS, ALL_METHODS = [*TESTS, *MORE_TESTS], [*METHODS, *MORE_METHODS]
NUMBERS = """0 1 -1 7 42 -42 255 1000 1234567 -1234567 0.0 -0.0 0.5 1.5 2.5 -2.5 0.1 2.675 3.14159 1e16 1e-5 123456789.123 1e22 1e300 1e-300 5e-324
true 'nan'|float 'inf'|float -('inf'|float) 99999.5 0.0001 1e15 9007199254740993""".split()
INDICES = ["0", "-1", "'a'", "i", "none", "5", "1:", ":-1", "::-1", "0:2", "::2", "-3:", "5:1:-1", "'n'", "1.0", "true", "z:i", ":"]


def draw_spec(rng: random.Random) -> str:
    spec = rng.choice(["", "", "<", ">", "^", "=", "*<", "0>", "é^", " =", "x="])
    spec += rng.choice(["", "", "+", "-", " "]) + rng.choice(["", "", "#"]) + rng.choice(["", "", "0"])
    spec += rng.choice(["", "", "1", "5", "12", "20"]) + rng.choice(["", "", "", ",", "_"]) + rng.choice(["", "", ".0", ".1", ".3", ".10"])
    return spec + rng.choice(["", "", "d", "s", "f", "F", "e", "E", "g", "G", "%", "x", "X", "o", "b", "n", "c", "q"])


def draw_format(rng: random.Random) -> str:
    value = rng.choice(NUMBERS) if rng.random() < 0.8 else rng.choice(["'text'", "'é日'", "none", "l", "(1,2)", "undef", "s"])
    kind = rng.random()
    if kind < 0.45:
        conversion = rng.choice(["", "", "", "!r", "!s", "!a", "!x"])
        return f"'{{{rng.choice(['', '0'])}{conversion}:{draw_spec(rng)}}}'.format({value})"
    if kind < 0.8:
        flags = "".join(rng.choice(["", "", c]) for c in "-+ #0")
        spec = flags + rng.choice(["", "", "5", "12", "*"]) + rng.choice(["", "", ".0", ".2", ".10", ".*", "."])
        stars = "".join(rng.choice(["3, ", "-6, ", "0, "]) for _ in range(spec.count("*")))
        return f"'[%{spec}{rng.choice([*'sdrifFeEgGxXocau', 'ld', 'q', '%'])}]' % ({stars}{value},)"
    if kind < 0.9:
        return f"({value}) | {rng.choice(['round', 'string', 'int', 'float', 'tojson', 'abs', 'filesizeformat'])}"
    if kind < 0.95:
        return f"({value} {rng.choice(['+', '-', '*', '/', '//', '%', '**'])} {rng.choice(NUMBERS)})"
    return f"({value}) | round({rng.choice([0, 1, 2, 3, 5, -1, -2, -3])}{rng.choice(['', '', chr(44) + repr('ceil'), chr(44) + repr('floor')])})"


def draw_expression(rng: random.Random, depth: int) -> str:
    if depth == 0 or rng.random() < 0.05:
        return rng.choice(ALL_ATOMS)
    inner = lambda: draw_expression(rng, depth - 1)  # noqa: E731
    kind = rng.random()
    if kind < 0.14:
        return f"({inner()} {rng.choice('+ - * / // % ~ ~'.split())} {inner()})"
    if kind < 0.22:
        return f"{inner()} {rng.choice(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {inner()}"
    if kind < 0.29:
        return f"({inner()} {rng.choice(['and', 'or'])} {inner()})"
    if kind < 0.35:
        return f"({inner()} if {inner()} else {inner()})" if rng.random() < 0.8 else f"({inner()} if {inner()})"
    if kind < 0.58:
        return f"({inner()})|{rng.choice(ALL_FILTERS)}"
    if kind < 0.66:
        return f"({inner()} is {rng.choice(['', 'not '])}{rng.choice(ALL_TESTS)})"
    if kind < 0.82:
        return f"({inner()}).{rng.choice(ALL_METHODS)}"
    if kind < 0.91:
        return f"({inner()})[{rng.choice(INDICES)}]"
    if kind < 0.94:
        return draw_format(rng)
    return rng.choice([f"[{inner()}, {inner()}]", f"({inner()},)", f"{{'a': {inner()}, 'b': {inner()}}}", f"-({inner()})", f"not {inner()}", f"dict(a={inner()})"])


def space(rng: random.Random) -> str:
    return rng.choice(["", "", " ", "\n", "  ", "\n  ", "text ", "\t\n\n "])


def tag(rng: random.Random, body: str) -> str:
    return "{%" + rng.choice(["", "", "-", "+"]) + " " + body + " " + rng.choice(["", "", "-", "+"]) + "%}"


def draw_statement(rng: random.Random, depth: int) -> str:
    value = lambda: draw_expression(rng, rng.choice([0, 1, 1]))  # noqa: E731
    inner = lambda: draw_body(rng, depth - 1)  # noqa: E731
    kind = rng.randrange(14) if depth else 12
    if kind == 0:
        other = tag(rng, "elif " + value()) + inner() if rng.random() < 0.4 else ""
        return tag(rng, f"if {value()}") + inner() + other + tag(rng, "else") + inner() + tag(rng, "endif")
    if kind in (1, 2):
        target = rng.choice(["x", "x", "k, v"])
        test = rng.choice(["", "", "", " if x", " if x is not none"]) if target == "x" else ""
        items = rng.choice(["l", "m", "ld", "d.items()", "range(3)", "[[1, 2], [3, 4]]", "u", "el", "undef", "nested", value()])
        body = inner() + "{{ loop." + rng.choice(["index", "last", "first", "length", "revindex0", "previtem", "nextitem", "depth"]) + " }}"
        jump = rng.choice(["", "", "", tag(rng, "break"), tag(rng, "if x") + tag(rng, "continue") + tag(rng, "endif")])
        other = tag(rng, "else") + inner() if rng.random() < 0.2 else ""
        return tag(rng, f"for {target} in {items}{test}") + jump + body + other + tag(rng, "endfor")
    if kind in (3, 4):
        return tag(rng, f"set {rng.choice(['x', 'y', 'x, y', 'ns.a'])} = {value()}")
    if kind == 5:
        return tag(rng, f"set {rng.choice(['x', 'y'])}{rng.choice(['', '', ' | upper', ' | trim | length'])}") + inner() + tag(rng, "endset")
    if kind == 6:
        name, params = rng.choice(["f", "g"]), rng.choice(["", "a", "a, b=1", "a, b='x', c=none"])
        body = inner() + rng.choice(["{{ a }}", "{{ a }}{{ b }}", "{{ varargs }}", "{{ kwargs }}", "{{ caller() }}", ""])
        call = f"{name}({rng.choice(['', value(), f'{value()}, {value()}', f'b={value()}', f'*[{value()}]', '1, **{}'])})"
        use = rng.choice(["{{ " + call + " }}", tag(rng, "call " + call) + inner() + tag(rng, "endcall")])
        return tag(rng, f"macro {name}({params})") + body + tag(rng, "endmacro") + use
    if kind == 7:
        return tag(rng, f"filter {rng.choice(['upper', 'trim', 'indent(1)', 'replace(chr, 1)', 'length', 'title | reverse'])}") + inner() + tag(rng, "endfilter")
    if kind == 8:
        return tag(rng, f"with {rng.choice(['', 'x = ' + value(), 'x = 1, y = x'])}") + inner() + tag(rng, "endwith")
    if kind == 9:
        return "{#" + rng.choice(["", "-"]) + " note " + rng.choice(["", "-"]) + "#}"
    if kind == 10:
        return tag(rng, "generation") + inner() + tag(rng, "endgeneration")
    if kind == 11:
        return "{% raw %}{{ x }}{% endraw %}"
    return rng.choice(["{{ ", "{{- "]) + rng.choice(["x", "y", "ns.a", "i", value(), value()]) + rng.choice([" }}", " -}}"])


def draw_body(rng: random.Random, depth: int) -> str:
    return "".join(space(rng) + draw_statement(rng, depth) for _ in range(rng.choice([1, 1, 2, 3]))) + space(rng)


def draw_template(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.45:
        return "{{ " + draw_expression(rng, rng.choice([1, 1, 2])) + " }}"
    if kind < 0.7:
        return "{{ " + draw_format(rng) + " }}"
    return "{% set ns = namespace(a=1) %}" + draw_body(rng, rng.choice([1, 2, 2]))


assert "ns" not in VARIABLES
