"""Writes the manual's page ``reference`` from the hooks' and types' own words: ``python tests/support/reference.py``.

Nothing on that page is written by hand; a test compares it with what this makes.
"""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import dumpty

CORE = Path(__file__).parents[2] / "core" / "dumpty"
PAGE = CORE / "manual" / "reference.md"
# A module of types that is not named here gets a section of its own, after these.
SECTIONS = {
    "Hooks": "hookspecs",
    "What a plugin says of itself": "types/plugins",
    "Databases and evidence": "types/databases",
    "Streams": "types/streams",
    "Stores": "types/stores",
    "Repositories": "types/repositories",
    "Records and proofs": "types/records",
    "Events": "types/events",
}
ELSEWHERE = ("dumpty.backup", "dumpty.errors", "dumpty.operations", "dumpty.repository", "dumpty.types")
"""Where the exported names live that are no tools: on this page already, or what the facades return."""
HEAD = """# Reference: every hook, type, error and tool for plugins, from their docstrings

Made from the docstrings by `tests/support/reference.py`. [plugins](plugins.md) is the page to begin with. Every name is
imported from `dumpty` itself.
"""


def markdown(docstring: str) -> str:
    """Return a docstring as Markdown."""
    text = inspect.cleandoc(docstring)
    text = re.sub(r"\n*\.\. versionadded:: (\S+)", r" *Since \1.*", text)
    text = re.sub(r"(?m)^(Args|Returns|Raises):\n((?: {4}.*\n?)+)", _listed, text)
    text = re.sub(r"(?m)^( *)(\S.*)::\n", r"\1\2:\n", text)
    return text.replace("``", "`").strip()


def _listed(match: re.Match[str]) -> str:
    items = re.split(r"\n(?=\S)", textwrap.dedent(match[2]).rstrip())
    return f"\n{match[1]}:\n\n" + "\n".join("- " + item.replace("\n", "\n  ") for item in items) + "\n"


def signature(node: ast.FunctionDef) -> str:
    """Return a function's head as one line of code."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"def {node.name}({ast.unparse(node.args)}){returns}: ..."


def described(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, str]]:
    """Yield each statement with its docstring: in it, or, for a value, after it."""
    for statement, following in zip(body, [*body[1:], None], strict=True):
        if isinstance(statement, ast.ClassDef | ast.FunctionDef):
            yield statement, ast.get_docstring(statement) or ""
        elif isinstance(statement, ast.Assign | ast.AnnAssign):
            text = following.value if isinstance(following, ast.Expr) else None
            yield statement, text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""


def of_class(node: ast.ClassDef) -> Iterator[str]:
    fields = [s for s in node.body if isinstance(s, ast.AnnAssign | ast.Assign)]
    bases = f"({', '.join(map(ast.unparse, node.bases))})" if node.bases else ""
    yield "```python signature\n" + f"class {node.name}{bases}:"
    for field in fields:
        yield f"    {ast.unparse(field)}"
    yield "    ...\n```\n" if not fields else "```\n"
    yield markdown(ast.get_docstring(node) or "") + "\n"
    for statement, docstring in described(node.body):
        if isinstance(statement, ast.FunctionDef) and not statement.name.startswith("_"):
            is_property = any(ast.unparse(d) == "property" for d in statement.decorator_list)
            arguments = re.sub(r"^self(, /)?(, )?", "", ast.unparse(statement.args))
            head = statement.name if is_property else f"{statement.name}({arguments})"
            returns = f" -> {ast.unparse(statement.returns)}" if statement.returns else ""
            text = markdown(docstring).replace("\n", "\n  ")
            yield f"- `{head}{returns}`: {text}"
        elif isinstance(statement, ast.Assign) and docstring:
            yield f"- `{ast.unparse(statement.targets[0])}`: {markdown(docstring)}".replace("\n", "\n  ")
    yield ""


def of_module(name: str) -> Iterator[str]:
    for statement, docstring in described(ast.parse((CORE / f"{name}.py").read_text()).body):
        if isinstance(statement, ast.ClassDef) and statement.name in dumpty.__all__:
            yield f"### {statement.name}\n"
            yield from of_class(statement)
        elif isinstance(statement, ast.FunctionDef) and (statement.name in dumpty.__all__ or name == "hookspecs"):
            yield f"### {statement.name}\n\n```python signature\n{signature(statement)}\n```\n\n{markdown(docstring)}\n"
        elif isinstance(statement, ast.Assign):
            target = ast.unparse(statement.targets[0])
            if target in dumpty.__all__ and target != "hookimpl":
                value = ast.unparse(statement.value)
                text = f"\n{markdown(docstring)}\n" if docstring else ""
                yield f"### {target}\n\n```python signature\n{target} = {value}\n```\n{text}"


def errors() -> Iterator[str]:
    yield "## Errors\n\nA plugin raises these; anything else is wrapped in `PluginError` with its name.\n"
    for statement, docstring in described(ast.parse((CORE / "errors.py").read_text()).body):
        if isinstance(statement, ast.ClassDef) and statement.name in dumpty.__all__:
            bases = ", ".join(map(ast.unparse, statement.bases))
            text = markdown(docstring.partition("\n\n")[0]).replace("\n", "\n  ")
            yield f"- `{statement.name}({bases})`: {text}"
    yield ""


def tools() -> Iterator[str]:
    yield "## Tools\n\n`help(dumpty.NAME)` says the rest of each.\n"
    for name in dumpty.__all__:
        value = getattr(dumpty, name)
        module = getattr(value, "__module__", "")
        if module.startswith("dumpty.") and not module.startswith(ELSEWHERE):
            text = markdown((inspect.getdoc(value) or "").partition("\n\n")[0]).replace("\n", "\n  ")
            yield f"- `{name}`: {text}"


def page() -> str:
    """Return the page."""
    parts = [HEAD]
    others = {path.stem for path in (CORE / "types").glob("[a-z]*.py")} - {
        m.partition("/")[2] for m in SECTIONS.values()
    }
    sections = SECTIONS | {stem.replace("_", " ").capitalize(): f"types/{stem}" for stem in sorted(others)}
    for title, module in sections.items():
        described_types = list(of_module(module))
        parts += [f"## {title}\n"] if described_types else []
        if module == "types/stores":
            docstring = ast.get_docstring(ast.parse((CORE / f"{module}.py").read_text())) or ""
            parts.append(markdown(docstring.partition("\n\n")[2]) + "\n")
        parts += described_types
    return re.sub(r"\n{3,}", "\n\n", "\n".join([*parts, *errors(), *tools()])).rstrip() + "\n"


if __name__ == "__main__":
    PAGE.write_text(page())
