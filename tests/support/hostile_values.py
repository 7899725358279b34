"""Values that a caller may give to an input of a node, to make it do harm."""

# ruff: noqa: E501 - lists of values.
# fmt: off

from __future__ import annotations

import math
from random import Random
from typing import Any

from hostile_files import MARK

_OUT = f"/tmp/{MARK}"
EXPRESSIONS = (
    f"(a*255).byte().numpy().tofile('{_OUT}') or 1", f"a.numpy().tofile('{_OUT}')", "a.__class__.__mro__", "__import__('os').environ",
    "().__class__.__base__.__subclasses__()", f"open('{_OUT}','w')", "[x for x in (1,)]", "(lambda: 0)()", "a if a else b", "9**9**9**9",
    "'a'*10**10", "10**10**8", "1<<10**10", "max(range(10**10))", "sum([1]*10**9)", "f'{a}'", "a['x']", "a.x", "a[0][0]", "a@b", "values",
    "min(a,b)", "a/0", "a%0", "(-8)**0.5", "1e308*10", "round(a,10**9)", "a+b+c", "+".join(["a"] * 3000), "(" * 500 + "a" + ")" * 500, "-" * 3000 + "1",
    "a==a==a", "not a", "a and b", "a;b", "a\nb", "nan", "inf", "True", "None", "__builtins__", "globals()", "print(a)", "abs(a)", "pow(2,10**9)",
)
FORMATS = (
    "{a.__init__.__globals__[logging].os.environ}", "{a.__class__}", "{a.__class__.__mro__[1].__subclasses__}", "{a.shape}", "{a[0]}", "{a!r:>1000000000}",
    "{a:1000000000}", "{0:1000000000d}", "{0.__class__}", "{}", "{0}", "{a}", "{a!s}", "{a!r}", "{a!a}", "{a:{b}}", "{{}}", "{", "}", "{a", "{a!x}", "{a:%Y}", "{a:s}", "{a:.999999999f}",
    "%(a)s", "%s%s%s", "%1000000000d", "%n", "%(a.__class__)s", "%", "{self}", "{cls}", "{kwargs}", "{values}", "{value}", "{value.__class__}",
    "{{ ''.__class__.__mro__ }}", "{% for x in range(10**9) %}a{% endfor %}", "{{ config }}", "${HOSTILE_CANARY}", "$HOSTILE_CANARY", "%HOSTILE_CANARY%",
    "%a.b%", "%width.__class__%", "%date:%s%", "%year%" * 500,
)
PATTERNS = (
    "(a+)+$", "(a|aa)+$", "(a|a?)+$", "(.*)*b", "(.*a){20}", "(x+x+)+y", "(?:a{1000}){1000}", "(?:(?:a{99}){99}){99}", "a{999999999}", "(?R)", "(?P<x>a)(?P=x)",
    "[", "(", "\\", "*", "(?i", "(?<=a+)b", "(?a)(?u)x", "\\p{L}", "\\N{BELL}", "(?#" + "x" * 5000 + ")", "(" * 200 + "a" + ")" * 200, "|".join(["a"] * 3000), "\\1", "(?P<n>a)(?P<n>b)", "^(?=(a+))+$",
)
SHADERS = (
    "void main(){while(true){}}", "#include </etc/passwd>", "#version 300 es\nprecision highp float;out vec4 c;void main(){for(int i=0;i<2147483647;i++)c+=1.;}", "#version 999\n", "#pragma STDGL invariant(all)",
)
STRUCTURES = (
    "[1e999]", "NaN", "null", '{"a":' * 2000, "[" * 900, '{"x":NaN}', '[{"x":1e9,"y":-1e9}]', '[[1,2],[3,"x"]]', '{"__class__":1}', "0:(1),5:(x)", "1,2,,3", "0.5," * 3000, "-1", "9" * 300, "1e400", "0x10",
    "!!python/object/apply:os.system ['id']", "<?xml version='1.0'?><!DOCTYPE s [<!ENTITY x SYSTEM 'file:///etc/passwd'>]><svg>&x;</svg>",
    "embedding:../../../../etc/passwd", f"embedding:{_OUT}", "(a:1e999)", "((((" * 200, "(a:nan)", "\\(" * 99, "<lora:../x:1>",
)
TEXTS = (
    "", " ", "x", "0", "a" * 40 + "!", "a" * 5000 + "!", "x" * 20_000, "\x00", "a\x00b.png", "\ud800", "x\udfff.png", "\u202egnp.exe", "\r\n\r\n", "é" * 999, "A1/" * 3000, "\U0001f600" * 99,
    "$(touch /tmp/hstl)", "`id`", "| id", "; id", "-rf", "--help", "${jndi:ldap://127.0.0.1/x}", "#ff", "#" + "f" * 4000, "#gggggg", "rgb(1,2,3)",
)
ADDRESSES = (
    "http://127.0.0.1:1/x.png", "https://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "ftp://127.0.0.1/x", "concat:/etc/passwd|/etc/hosts", "subfile,,start,0,end,9,,:/etc/passwd", "pipe:0",
    "tcp://127.0.0.1:1", "data:image/png;base64,AAAA", "s3://b/x", "lavfi:testsrc", "/dev/zero", "/dev/stdin", "/proc/self/environ", "/proc/self/mem", "/proc/1/environ",
)
PATHS = (
    "../../../../../../../../etc/passwd", "/etc/passwd", "../lock", "../user", "../jobs", "../output", "....//....//etc/passwd", "..\\..\\etc\\passwd", "%2e%2e%2fetc", "a/../../../etc/passwd", "/", "//etc/passwd",
    "input/../../lock", f"../{MARK}", f"../../{MARK}", _OUT, f"/{MARK}/x", f"{MARK}/" * 40, MARK * 80, f"~/{MARK}", f"a/../../{MARK}", f"{MARK}\x00/x", "models/../../x.safetensors", ".", "..", "./.", "*", "**", "../*", "[a-z]*",
    "in.png [output]", "../x [temp]", "[input]", "C:\\x", "\\\\host\\share\\x", "nul", "e" * 300, "x%d.png", "x%1000000000d.png",
)
_FAMILIES = (EXPRESSIONS, FORMATS, PATTERNS, SHADERS, STRUCTURES, TEXTS, ADDRESSES, PATHS)
# Small enough to be cheap, or so large that no allocation can begin. hostile_bombs.py has those between.
NUMBERS = (0, 1, -1, 2, 3, 0.5, -0.5, -0.0, 1e-300, 1e308, -1e308, math.nan, math.inf, -math.inf, 2**62, -(2**62), 2**63 - 1, 2**64, -(2**63), 10**400, 2**31, -(2**31), True)
ODD: tuple[Any, ...] = (
    None, False, [], {}, [[]], [None], ["1"], [1, 0], [["1", 0], 0], [None, 0], ["nowhere", 0], {"__proto__": 1}, {"__value__": ["1", 0]}, {"__value__": [None]}, {"__type__": "x"}, {"__class__": "int"},
    {"x": -5, "y": 10**9, "width": -1, "height": 2**62}, [{"x": "../x", "y": None}], {"image": "../x.png", "mask": "/etc/passwd", "normal": "", "recording": "../lock"}, {"points": [[0, 0], ["a", 1]], "interpolation": "x"},
    [0.5] * 5000, ["\ud800"], [math.nan], {"": {"": {}}}, "[[[]]]",
)
# fmt: on


def text(rng: Random, names: list[str]) -> str:
    """A text. ``names``: files that no job may read."""
    family = rng.choice((*_FAMILIES, names, names))
    return str(rng.choice(family))


def value(rng: Random, names: list[str]) -> Any:
    """A value of any type that JSON has."""
    which = rng.random()
    if which < 0.5:
        return text(rng, names)
    return rng.choice(NUMBERS) if which < 0.8 else rng.choice(ODD)
