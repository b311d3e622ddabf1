"""How pages are made: Jinja2 templates, tables, and pictures inside the page, so that it is one file.

In: text, tables and pictures. Out: HTML; text is escaped, and no page refers to another file.
"""

from __future__ import annotations

import base64
import functools
from pathlib import Path
from typing import NamedTuple

import jinja2


class Cell(NamedTuple):
    """A table's cell."""

    text: str
    bounds: str = ""  # an interval, small below the text
    kind: str = ""  # CSS class: best or text


class Table(NamedTuple):
    """A table with one line of headings."""

    headings: list[str]
    rows: list[list[Cell]]

    def is_text(self, column: int) -> bool:
        """Tell whether a column holds text, which is aligned to the left; rows may be shorter than the headings."""
        return any(row[column].kind == "text" for row in self.rows if column < len(row))

    def turned(self, heading: str) -> Table:
        """Return the table with a row for each column: a wide one is then read without scrolling sideways."""
        names = [heading, *(row[0].text for row in self.rows)]
        columns = zip(self.headings[1:], *(row[1:] for row in self.rows))
        return Table(names, [[Cell(name), *cells] for name, *cells in columns])


def data_uri(path: Path) -> str:
    """Return a PNG file's content as the address of an image."""
    return "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()


@functools.cache
def templates() -> jinja2.Environment:
    """Return the templates of report/templates/."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["data_uri"] = data_uri
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment


def render(template: str, **values) -> str:
    """Return a template filled with values, as HTML."""
    return templates().get_template(template).render(**values) + "\n"
