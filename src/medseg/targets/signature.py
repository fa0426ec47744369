"""What a part's constructor takes, and the constants its class publishes."""

from __future__ import annotations

import ast
import inspect
from dataclasses import dataclass
from typing import Any

from medseg.targets.admission import foreign_object
from medseg.targets.annotations import choices
from medseg.targets.source import PACKAGE, ClassSource, Module, find_class, lineage, value_of


@dataclass(frozen=True)
class Parameter:
    """One argument of a constructor.

    Attributes:
        name: its name.
        annotation: its type as text, module-level aliases spelt out.
        default: its default where that is a literal, else ``...``.
        required: whether it has no default.
        keyword_only: whether it stands after ``*``.
        variadic: ``**name``: further keywords are accepted.
    """

    name: str
    annotation: str | None
    default: Any
    required: bool
    keyword_only: bool
    variadic: bool = False

    @property
    def choices(self) -> list[str]:
        """The texts that a ``Literal`` in the annotation names."""
        return choices(self.annotation)


def parameters(target: str) -> list[Parameter]:
    """The constructor's parameters without ``self``; ``[]`` where the target does not exist.

    medseg's classes are read from their source, a foreign one that was admitted is imported.
    """
    if target.split(".", maxsplit=1)[0] != PACKAGE:
        found = foreign_object(target)
        return [] if isinstance(found, str) else _inspected(found)
    source = find_class(target)
    return [] if source is None else _of_class(lineage(source))


def constants(target: str) -> dict[str, Any]:
    """The class-level literals, inherited ones included: ``{"MODULAR": True, "DIMS": (2, 3)}``."""
    if target.split(".", maxsplit=1)[0] != PACKAGE:
        found = foreign_object(target)
        plain = (bool, int, float, str, tuple)
        names = [] if isinstance(found, str) else [n for n in dir(found) if n.isupper()]
        return {n: getattr(found, n) for n in names if isinstance(getattr(found, n), plain)}
    source = find_class(target)
    values: dict[str, Any] = {}
    for ancestor in reversed(lineage(source) if source else []):
        for name, node in _assignments(ancestor.node):
            literal = _literal(node, ancestor.module)
            if literal is not ...:
                values[name] = literal
    return values


def doc_of(target: str) -> str:
    """The first line of a medseg class's docstring, without its full stop."""
    source = find_class(target)
    text = ast.get_docstring(source.node) if source else None
    return (text or "").partition("\n")[0].rstrip(".")


def _assignments(node: ast.ClassDef) -> list[tuple[str, ast.expr]]:
    pairs: list[tuple[ast.expr, ast.expr]] = []
    for statement in node.body:
        if isinstance(statement, ast.Assign):
            pairs += [(target, statement.value) for target in statement.targets]
        elif isinstance(statement, ast.AnnAssign) and statement.value:
            pairs.append((statement.target, statement.value))
    return [(target.id, value) for target, value in pairs if isinstance(target, ast.Name)]


def _literal(node: ast.expr, module: Module) -> Any:
    """The value of a literal or of a module constant, else ``...``."""
    if isinstance(node, ast.Name) and (found := value_of(module, node.id)):
        module, node = found
    try:
        return ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return ...


def _of_class(line: list[ClassSource]) -> list[Parameter]:
    for number, source in enumerate(line):
        for statement in source.node.body:
            if isinstance(statement, ast.FunctionDef) and statement.name == "__init__":
                own = _of_function(statement, source.module)
                return _with_inherited(own, line[number + 1 :])
        if _is_dataclass(source.node):
            return _of_dataclass(line[number:])
    return []


def _with_inherited(own: list[Parameter], ancestors: list[ClassSource]) -> list[Parameter]:
    """``**options`` that a medseg base takes are the base's own options, by name."""
    if not ancestors or not any(p.variadic for p in own):
        return own
    named = {p.name for p in own}
    taken = [p for p in _of_class(ancestors) if p.name not in named]
    return [p for p in own if not p.variadic] + taken


def _of_function(node: ast.FunctionDef, module: Module) -> list[Parameter]:
    places = [*node.args.posonlyargs, *node.args.args]
    defaults = [None] * (len(places) - len(node.args.defaults)) + list(node.args.defaults)
    rows = [(arg, default, False) for arg, default in zip(places, defaults, strict=True)][1:]
    rows += [(a, d, True) for a, d in zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)]
    found = [_parameter(a.arg, a.annotation, d, keyword, module) for a, d, keyword in rows]
    if node.args.kwarg:
        found.append(Parameter(node.args.kwarg.arg, None, ..., False, True, variadic=True))
    return found


def _parameter(
    name: str, annotation: ast.expr | None, default: ast.expr | None, keyword_only: bool, module: Module
) -> Parameter:
    text = None if annotation is None else ast.unparse(_spelt_out(annotation, module))
    value = ... if default is None else _literal(default, module)
    return Parameter(name, text, value, default is None, keyword_only)


class _Aliases(ast.NodeTransformer):
    """Replaces ``Norm`` by ``Literal["instance", "batch"]`` where a module says so."""

    def __init__(self, module: Module, depth: int) -> None:
        self.module, self.depth = module, depth

    def visit_Name(self, node: ast.Name) -> ast.expr:
        found = value_of(self.module, node.id) if self.depth else None
        if found is None or not isinstance(found[1], ast.Subscript | ast.BinOp | ast.Name):
            return node
        return _spelt_out(found[1], found[0], self.depth - 1)

    def visit_Subscript(self, node: ast.Subscript) -> ast.expr:
        if isinstance(node.value, ast.Name) and node.value.id == "Literal":
            return node
        return ast.copy_location(ast.Subscript(node.value, self.visit(node.slice), node.ctx), node)


def _spelt_out(annotation: ast.expr, module: Module, depth: int = 4) -> ast.expr:
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        annotation = ast.parse(annotation.value, mode="eval").body
    spelt: ast.expr = _Aliases(module, depth).visit(annotation)
    return spelt


def _decorator(node: ast.ClassDef) -> ast.expr | None:
    for decorator in node.decorator_list:
        callee = decorator.func if isinstance(decorator, ast.Call) else decorator
        if ast.unparse(callee) in ("dataclass", "dataclasses.dataclass"):
            return decorator
    return None


def _is_dataclass(node: ast.ClassDef) -> bool:
    return _decorator(node) is not None


def _keyword(call: ast.expr | None, name: str) -> ast.expr | None:
    keywords = call.keywords if isinstance(call, ast.Call) else []
    return next((k.value for k in keywords if k.arg == name), None)


def _of_dataclass(line: list[ClassSource]) -> list[Parameter]:
    fields: dict[str, Parameter] = {}
    for source in reversed(line):
        if not _is_dataclass(source.node):
            continue
        flag = _keyword(_decorator(source.node), "kw_only")
        keyword_only = flag is not None and ast.unparse(flag) == "True"
        for statement in source.node.body:
            if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
                continue
            annotation = ast.unparse(statement.annotation)
            if annotation.split(".")[-1] == "KW_ONLY":
                keyword_only = True
            elif "ClassVar" not in annotation:
                found = _field(statement, keyword_only, source.module)
                fields.update({found.name: found} if found else {})
    return list(fields.values())


def _field(statement: ast.AnnAssign, keyword_only: bool, module: Module) -> Parameter | None:
    assert isinstance(statement.target, ast.Name)
    value = statement.value
    if isinstance(value, ast.Call) and ast.unparse(value.func).split(".")[-1] == "field":
        made = _keyword(value, "init")
        if made is not None and ast.unparse(made) == "False":
            return None
        value = _keyword(value, "default") or _keyword(value, "default_factory")
    return _parameter(statement.target.id, statement.annotation, value, keyword_only, module)


def _inspected(found: Any) -> list[Parameter]:
    rows = []
    for p in inspect.signature(found).parameters.values():
        if p.kind is p.VAR_POSITIONAL:
            continue
        text = p.annotation if isinstance(p.annotation, str) else inspect.formatannotation(p.annotation)
        empty = p.default is p.empty
        variadic = p.kind is p.VAR_KEYWORD
        rows.append(
            Parameter(
                p.name,
                None if p.annotation is p.empty else text,
                ... if empty else p.default,
                empty and not variadic,
                p.kind in (p.KEYWORD_ONLY, p.VAR_KEYWORD),
                variadic,
            )
        )
    return rows
