"""Evaluates an expression that a caller wrote, over numbers and nothing else."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from worker.embedded.guards.plain import is_numpy_scalar

LONGEST_EXPRESSION = 10_000  # Characters.
LARGEST_BITS = 65_536  # Of a whole number, also of one in between. The largest float has 1,024.
MOST_DIGITS = 1_000  # That ``round`` may be asked for.
_NUMBERS = (bool, int, float)
_VALUES = (*_NUMBERS, str, type(None))

_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
    ast.LShift: operator.lshift,
    ast.RShift: operator.rshift,
    ast.BitAnd: operator.and_,
    ast.BitOr: operator.or_,
    ast.BitXor: operator.xor,
}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg,
    ast.UAdd: operator.pos,
    ast.Not: operator.not_,
    ast.Invert: operator.invert,
}
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Is: operator.is_,
    ast.IsNot: operator.is_not,
    ast.In: lambda item, container: operator.contains(container, item),
    ast.NotIn: lambda item, container: not operator.contains(container, item),
}


class ExpressionRefused(ValueError):
    """The expression uses what no caller may use, or it would grow too large."""


def evaluate_expression(
    expression: str,
    operators: object = None,  # noqa: ARG001 - as of ``simple_eval``.
    functions: Mapping[str, Callable[..., Any]] | None = None,
    names: Mapping[str, Any] | None = None,
    **_options: object,
) -> Any:
    """Evaluate ``expression``; takes the place of ``simpleeval.simple_eval`` in ComfyUI's nodes.

    It knows numbers, short texts, lists of them that ``names`` holds, operators, comparisons, ``x if y else z``, an
    index, and calls of ``functions``. There are no attributes, no methods, and no other calls.

    Args:
        expression: at most 10,000 characters.
        operators: not used.
        functions: what it may call.
        names: numbers, or lists of numbers.

    Raises:
        ExpressionRefused: it uses something else, or a value is no number.
        SyntaxError: it is no expression.
    """
    if len(expression) > LONGEST_EXPRESSION:
        raise ExpressionRefused(
            f"The expression has {len(expression):,} characters; at most {LONGEST_EXPRESSION:,} are allowed"
        )
    parsed = ast.parse(expression.strip()).body
    if not parsed:
        raise ExpressionRefused("The expression is empty")
    plain = {name: _plain_value(name, value) for name, value in (names or {}).items()}
    return _Evaluation(plain, functions or {}).value(parsed[0])


def _plain_value(name: str, value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_plain_value(name, item) for item in value]
    if is_numpy_scalar(value):
        value = value.item()
    if not isinstance(value, _NUMBERS):
        raise ExpressionRefused(f"Value {name!r} is no number: a {type(value).__name__} arrived. Connect a number")
    return value


class _Evaluation:
    """One evaluation; each kind of syntax that is known has a method of its name."""

    def __init__(self, names: Mapping[str, Any], functions: Mapping[str, Callable[..., Any]]) -> None:
        self._names, self._functions = names, functions

    def value(self, node: ast.AST) -> Any:
        """The value of ``node``: a number, a short text, or a list of numbers."""
        evaluate = getattr(self, f"_{type(node).__name__}", None)
        if evaluate is None:
            raise ExpressionRefused(
                f"An expression cannot have {type(node).__name__}: use numbers, names and functions"
            )
        return _bounded(evaluate(node))

    def _Expr(self, node: ast.Expr) -> Any:  # noqa: N802
        return self.value(node.value)

    def _Constant(self, node: ast.Constant) -> Any:  # noqa: N802
        return node.value

    def _Name(self, node: ast.Name) -> Any:  # noqa: N802
        if node.id not in self._names:
            raise ExpressionRefused(f"{node.id!r} is not defined: connect a value of this name")
        return self._names[node.id]

    def _BinOp(self, node: ast.BinOp) -> Any:  # noqa: N802
        if type(node.op) not in _BINARY:
            raise ExpressionRefused(f"An expression cannot have the operator {type(node.op).__name__}")
        left, right = _number(self.value(node.left)), _number(self.value(node.right))
        _check_growth(node.op, left, right)
        return _BINARY[type(node.op)](left, right)

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:  # noqa: N802
        operand = self.value(node.operand)
        return _UNARY[type(node.op)](operand if isinstance(node.op, ast.Not) else _number(operand))

    def _BoolOp(self, node: ast.BoolOp) -> Any:  # noqa: N802
        wanted = isinstance(node.op, ast.Or)
        value: Any = False
        for operand in node.values:
            value = self.value(operand)
            if bool(value) is wanted:
                break
        return value

    def _Compare(self, node: ast.Compare) -> Any:  # noqa: N802
        left, result = self.value(node.left), True
        for compare, comparator in zip(node.ops, node.comparators, strict=True):
            right = self.value(comparator)
            result = _COMPARE[type(compare)](left, right)
            if not result:
                break
            left = right
        return result

    def _IfExp(self, node: ast.IfExp) -> Any:  # noqa: N802
        return self.value(node.body if self.value(node.test) else node.orelse)

    def _Subscript(self, node: ast.Subscript) -> Any:  # noqa: N802
        container = self.value(node.value)
        if isinstance(node.slice, ast.Slice):
            limits = (node.slice.lower, node.slice.upper, node.slice.step)
            return container[slice(*(None if limit is None else self.value(limit) for limit in limits))]
        return container[self.value(node.slice)]

    def _Call(self, node: ast.Call) -> Any:  # noqa: N802
        if not isinstance(node.func, ast.Name):
            raise ExpressionRefused("An expression can only call functions by their names: there are no methods")
        function = self._functions.get(node.func.id)
        if function is None:
            raise ExpressionRefused(
                f"The function {node.func.id!r} is not defined. Known: {', '.join(self._functions)}"
            )
        arguments = [self.value(argument) for argument in node.args]
        keywords = {keyword.arg: self.value(keyword.value) for keyword in node.keywords if keyword.arg}
        if len(keywords) < len(node.keywords):
            raise ExpressionRefused("An expression cannot use ** in a call")
        _check_call(node.func.id, [*arguments, *keywords.values()])
        return function(*arguments, **keywords)


def _bounded(value: Any) -> Any:
    if isinstance(value, list):
        return value
    if not isinstance(value, _VALUES):
        raise ExpressionRefused(f"The expression makes a {type(value).__name__}, which is no number")
    if isinstance(value, int) and value.bit_length() > LARGEST_BITS:
        raise ExpressionRefused("The expression makes a number that is too large")
    return value


def _number(value: Any) -> Any:
    if not isinstance(value, _NUMBERS):
        raise ExpressionRefused(
            f"The expression calculates with a {type(value).__name__}: it can only do so with numbers"
        )
    return value


def _check_growth(operation: ast.operator, left: Any, right: Any) -> None:
    """Refuse what makes a far too large number, before it is made."""
    if isinstance(left, float) or isinstance(right, float):
        return
    if isinstance(operation, ast.Pow):
        _check_power(left, right)
    elif isinstance(operation, ast.LShift) and right > LARGEST_BITS:
        raise ExpressionRefused(f"{right} is too far to shift a number")


def _check_power(base: Any, exponent: Any) -> None:
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > LARGEST_BITS:
        raise ExpressionRefused(f"Exponent {exponent} exceeds maximum allowed: the result would be too large")


def _check_call(name: str, arguments: Sequence[Any]) -> None:
    if name == "pow" and len(arguments) >= 2:
        _check_power(*arguments[:2])
    digits = arguments[1] if name == "round" and len(arguments) > 1 else 0
    if isinstance(digits, int) and abs(digits) > MOST_DIGITS:
        raise ExpressionRefused(f"round cannot make {digits} digits: at most {MOST_DIGITS:,}")
