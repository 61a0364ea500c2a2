"""Write the computed parts of the README: verdicts from the notebooks' glued outputs, benchmarks from their report.

Each part lies between ``<!-- name -->`` and ``<!-- /name -->``. The README's picture is the output of the cell that
is tagged ``readme-picture``.

    python tools/readme.py            # write
    python tools/readme.py --check    # exit 1 if the README says something else
"""

from __future__ import annotations

import ast
import base64
import re
import sys
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent

THREADS = [  # number, title, notebook
    (1, "Gated against expanded", "01_gated_vs_expanded"),
    (2, "Feature orthogonality", "02_feature_orthogonality"),
    (3, "Superposition noise", "03_superposition_noise"),
    (4, "Token definitions under rescaling", "04_token_definitions"),
    (5, "A reviewer in an RL loop", "05_reviewer_in_the_loop"),
    (6, "Three features and composition", "06_three_features"),
    (7, "Peaks at 0.05 and 0.3", "07_nearest_neighbour_peaks"),
    (8, "Dashboards for the whole model", "08_feature_dashboards"),
    (9, "Resolution of singularities", "09_resolution_of_singularities"),
]

REPORTS = [ROOT / "benchmarks" / name for name in ("results.md", "superposition.md", "geometry.md")]


def glued(notebook: Path) -> dict[str, str]:
    """Every glued value of an executed notebook, as text."""
    values = {}
    for cell in nbformat.read(notebook, as_version=4).cells:
        for output in cell.get("outputs", []):
            key = output.get("metadata", {}).get("scrapbook", {}).get("name")
            for mime, data in output.get("data", {}).items() if key else ():
                if mime.removeprefix("application/papermill.record/") == "text/plain":
                    values[key] = _unquoted(data)
    return values


def _unquoted(text: str) -> str:
    """``'a string'`` as IPython shows it, without its quotes."""
    try:
        value = ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text
    return value if isinstance(value, str) else text


def verdicts() -> str:
    rows = ["| | Thread | Verdict |", "|---|---|---|"]
    for number, title, name in THREADS:
        path = ROOT / "notebooks" / f"{name}.ipynb"
        if path.exists():
            verdict = glued(path).get(f"ch{number:02d}_verdict", "open")
            rows.append(f"| {number} | [{title}](notebooks/{name}.ipynb) | {verdict} |")
        else:
            rows.append(f"| {number} | {title} | open |")
    return "\n".join(rows)


def bench() -> str:
    """The parts that were measured, each from a file of its own, so that one can be measured again alone."""
    found = [path.read_text(encoding="utf-8").strip() for path in REPORTS if path.exists()]
    return "\n\n".join(found) or "Not measured yet: `make bench`."


PARTS = {"verdicts": verdicts, "bench": bench}


def picture() -> bytes | None:
    """The PNG of the one cell tagged ``readme-picture``, if there is one."""
    found = [
        base64.b64decode(output.data["image/png"])
        for path in sorted((ROOT / "notebooks").glob("[0-9]*.ipynb"))
        for cell in nbformat.read(path, as_version=4).cells
        if "readme-picture" in cell.metadata.get("tags", ())
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    if len(found) > 1:
        raise ValueError(f"expected one picture from cells tagged 'readme-picture', found {len(found)}")
    return found[0] if found else None


def rendered(text: str) -> str:
    """``text`` with every marked part computed anew."""
    for name, part in PARTS.items():
        pattern = re.compile(f"(<!-- {name} -->\n).*?(<!-- /{name} -->)", re.DOTALL)
        if len(pattern.findall(text)) != 1:
            raise ValueError(f"README.md: expected one pair of markers '{name}', found {len(pattern.findall(text))}")
        text = pattern.sub(lambda match, part=part: f"{match[1]}{part()}\n{match[2]}", text)
    return text


def refresh(check: bool = False) -> bool:
    """Write the README and its picture if they are out of date; return whether they were. With ``check`` only look."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    new = {ROOT / "README.md": rendered(text).encode()}
    if drawn := picture():
        new[ROOT / "book" / "_static" / "frontier.png"] = drawn
    stale = {path: data for path, data in new.items() if not path.exists() or path.read_bytes() != data}
    if not check:
        for path, data in stale.items():
            path.write_bytes(data)
    return bool(stale)


if __name__ == "__main__":
    stale = refresh(check="--check" in sys.argv)
    if "--check" in sys.argv and stale:
        sys.exit("README.md is out of date: run `python tools/readme.py`")
