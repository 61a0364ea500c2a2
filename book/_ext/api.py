"""The page that lists the helpers: a section a face, an entry a public name, read from the sources and not imported.

Docstrings are reStructuredText but for two habits: an indented block is an equation or a table, kept as it stands, and
``Parameters`` with a line under it heads a list. A role such as ``:func:`` becomes a link where its name is on the
page, and plain code where it is not.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import dedent

from docutils import nodes
from docutils.parsers.rst import Parser
from sphinx import addnodes
from sphinx.util.docutils import SphinxDirective, new_document

ROOT = Path(__file__).resolve().parents[2]
ORDER = "lm sae geometry superposition composition definitions reviewer singular dashboard evidence page runs checks"
ORDER = ORDER.split()
MARK = "\u2060"  # stands before code that was a role
ROLE = re.compile(r":(?:mod|func|class|meth|data|attr):`~?([^`]+)`")
EXAMPLE = re.compile(r"^>>>.*?(?=\n\n|\Z)", re.M | re.S)
HEADING = re.compile(r"^(\w+)\n-{3,}$", re.M)


@dataclass
class Entry:
    """A public name: where it is, and the nodes of the syntax tree that say what it is."""

    id: str
    path: Path
    node: ast.stmt
    doc: str
    source: str = ""  # of a value, or of fields that say what they are
    members: list[Entry] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.id.rpartition(".")[2]


def faces(root: Path = ROOT) -> dict[str, tuple[str, list[Entry]]]:
    """Each face's docstring and entries, in a newcomer's order; faces that the order does not know come last."""
    found = {p.parent.name: p for p in (root / "helpers").glob("*/__init__.py")}
    found |= {p.stem: p for p in (root / "helpers").glob("[a-z]*.py")}
    order = sorted(found, key=lambda name: (ORDER.index(name) if name in ORDER else len(ORDER), name))
    return {name: face(f"helpers.{name}", found[name]) for name in order}


def face(module: str, path: Path) -> tuple[str, list[Entry]]:
    """The docstring of a face and what it imports from its modules; of a single module, all that it defines.

    First comes what the docstring speaks of, in its order; plain values come last.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    listed = [] if path.name == "__init__.py" else [e for e in entries(module, path).values() if e.name[0] != "_"]
    for line in tree.body:
        if path.name == "__init__.py" and isinstance(line, ast.ImportFrom) and line.level == 1:
            inner = entries(module, path.with_name(f"{line.module}.py"))
            listed += [inner[alias.name] for alias in line.names]
    doc = ast.get_docstring(tree) or ""
    at = {e.id: spoken.start() for e in listed if (spoken := re.search(rf"`{e.name}\b", doc))}
    return doc, sorted(listed, key=lambda e: (at.get(e.id, len(doc)), isinstance(e.node, ast.Assign | ast.AnnAssign)))


def entries(module: str, path: Path) -> dict[str, Entry]:
    """What a module defines at its top, by name and in its order."""
    tree, out = ast.parse(text := path.read_text(encoding="utf-8")), {}
    shown = EXAMPLE.findall(ast.get_docstring(tree) or "")
    for node, after in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            entry = out[node.name] = Entry(f"{module}.{node.name}", path, node, ast.get_docstring(node) or "")
            parts = node.body if isinstance(node, ast.ClassDef) else []
            for part in parts:
                if isinstance(part, ast.FunctionDef) and part.name[0] != "_" and (said := ast.get_docstring(part)):
                    entry.members.append(Entry(f"{entry.id}.{part.name}", path, part, said))
            fields = [part.lineno for part in parts if isinstance(part, ast.AnnAssign)]
            source = dedent("\n".join(text.split("\n")[fields[0] - 1 : fields[-1]])) if fields else ""
            entry.source = source if "  # " in source else ""
        elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value:
            said = isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and str(after.value.value)
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                if isinstance(target, ast.Name):
                    doc = "\n\n".join([said or "", *(block for block in shown if target.id in block)])
                    source = ast.get_source_segment(text, node)
                    out[target.id] = Entry(f"{module}.{target.id}", path, node, doc, source)
    return out


def arguments(node: ast.stmt) -> tuple[list[str], str]:
    """The arguments of a call as text, and what it returns."""
    if isinstance(node, ast.ClassDef):
        made = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        fields = [ast.unparse(n) for n in node.body if isinstance(n, ast.AnnAssign)]
        return arguments(made[0])[0] if made else fields or [ast.unparse(base) for base in node.bases], ""
    a = node.args
    pairs = list(zip(a.args, [None] * (len(a.args) - len(a.defaults)) + a.defaults, strict=True))
    pairs += [(f"*{ast.unparse(a.vararg)}" if a.vararg else "*", None)] if a.vararg or a.kwonlyargs else []
    pairs += zip(a.kwonlyargs, a.kw_defaults, strict=True)
    pairs += [(f"**{ast.unparse(a.kwarg)}", None)] if a.kwarg else []
    texts = [(arg if isinstance(arg, str) else ast.unparse(arg), default) for arg, default in pairs]
    texts = [(t, (" = " if ":" in t else "=") + ast.unparse(default) if default else "") for t, default in texts]
    return [t + given for t, given in texts if t not in ("self", "cls")], ast.unparse(node.returns or ast.Name(""))


def restructured(doc: str) -> str:
    """A docstring as reStructuredText proper."""
    lines, out, state = HEADING.sub(r".. rubric:: \1\n", doc).split("\n"), [], ""
    for i, line in enumerate(lines):
        indented = line.startswith("    ")
        if line.startswith(".. "):
            state = "list"
        elif line.startswith(">>>"):
            state = "example"
        elif state == "list" and line and not indented:
            state = "list" if "".join(lines[i + 1 : i + 2]).startswith("    ") else ""
            line = ", ".join(f"``{name}``" for name in line.split(", ")) if state else line
        elif (state == "example" and not line) or (state == "equation" and line and not indented):
            state = ""
        elif not state and indented and not lines[i - 1].strip():
            state, out = "equation", [*out, "::", ""]
        out.append(line if state in ("equation", "example") else inline(line))
    return "\n".join(out)


def inline(line: str) -> str:
    """A line with its roles as marked code, and bars outside code as bars."""
    pieces = re.split(r"(``.+?``)", ROLE.sub(rf"``{MARK}\1``", line))
    pieces[::2] = [piece.replace("|", r"\|") for piece in pieces[::2]]
    return "".join(pieces)


class HelpersApi(SphinxDirective):
    """``{helpers-api}``: all faces, one section each."""

    def run(self) -> list[nodes.Node]:
        known, out = faces(), []
        listed = [entry for _, listed in known.values() for entry in listed]
        self.ids = {f"helpers.{name}" for name in known} | {e.id for top in listed for e in (top, *top.members)}
        for path in (Path(__file__), *(ROOT / "helpers").rglob("*.py")):
            self.env.note_dependency(str(path))
        for name, (doc, listed) in known.items():
            place = f"helpers.{name}"
            section = nodes.section("", nodes.title("", place), ids=[place], names=[place])
            section += self.parsed(doc, place)
            links = [part for entry in listed for part in (self.link(entry.name, entry.id), nodes.Text(" "))]
            section += nodes.paragraph("", "", *links, classes=["api-names"])
            section += [self.entry(entry) for entry in listed]
            self.state.document.note_explicit_target(section)
            out.append(section)
        return out

    def entry(self, entry: Entry) -> addnodes.desc:
        kind = {ast.ClassDef: "class", ast.FunctionDef: "function"}.get(type(entry.node), "value")
        first = addnodes.desc_signature("", "", ids=[entry.id], classes=["sig-object", "py"])
        first += [] if kind == "function" else [addnodes.desc_annotation("", f"{kind} ")]
        first += addnodes.desc_name(entry.name, entry.name)
        content = addnodes.desc_content("", *self.parsed(entry.doc, entry.id))
        if entry.source:
            content += nodes.literal_block(entry.source, entry.source, language="python")
        else:
            given, returned = arguments(entry.node)
            listed = [addnodes.desc_parameter("", text) for text in given]
            listed = addnodes.desc_parameterlist("", "", *listed)
            first += [listed, addnodes.desc_returns("", returned)] if returned else [listed]
        if entry.id.count(".") < 3:
            where = f"{entry.path.relative_to(ROOT).as_posix()}, line {entry.node.lineno}"
            content += nodes.paragraph("", where, classes=["api-where"])
        content += [self.entry(member) for member in entry.members]
        return addnodes.desc("", first, content, domain="py", objtype=kind, noindex=True, classes=["py", kind])

    def parsed(self, doc: str, place: str) -> list[nodes.Node]:
        document = new_document(place, self.state.document.settings)
        Parser().parse(restructured(doc), document)
        for code in list(document.findall(nodes.literal)):
            if code.astext().startswith(MARK):
                code.replace_self(self.link(said := code.astext().lstrip(MARK), self.found(said, place)))
        for block in document.findall(nodes.literal_block):
            block["language"] = "text"
        return document.children

    def found(self, said: str, place: str) -> str | None:
        """The id of what a role names, seen from a place: in the same class or face, or in a module behind a face."""
        parts, inside = said.split("."), place.split(".")
        tries = [said, *(".".join([*inside[:n], said]) for n in range(len(inside), 0, -1))]
        tries += [".".join(parts[:2] + parts[3:]), ".".join(parts[:2])] if parts[0] == "helpers" else []
        return next((name for name in tries if name in self.ids), None)

    def link(self, text: str, target: str | None) -> nodes.Node:
        code = nodes.literal(text, text)
        return nodes.reference("", "", code, refid=target, internal=True) if target else code


def setup(app) -> dict:
    app.add_directive("helpers-api", HelpersApi)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
