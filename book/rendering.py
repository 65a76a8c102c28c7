"""What the pages need of Sphinx beyond ``_config.yml``: a small extension of our own.

Equations become MathML, which browsers set by themselves: the usual script would be asked from the
network by every page. Docstrings are numpydoc, where a modulus is written |x|, which
reStructuredText would take for a substitution.
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError, latex2mathml
from sphinx.application import Sphinx
from sphinx.ext.napoleon.docstring import NumpyDocstring
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

_LOG = logging.getLogger(__name__)


def mathml(node: nodes.Node, *, block: bool = False) -> str:
    """Turn the TeX of an equation into MathML; what cannot be turned is a warning, so an error."""
    try:
        found: str = latex2mathml.tex2mathml(node.astext(), as_block=block)
    except MathError as error:
        _LOG.warning("equation %r: %s", node.astext(), error, location=node)
        return ""
    return found


def visit_math(self: Any, node: nodes.math) -> None:
    """Write an equation within a line."""
    # Between a formula and the mark that follows there must be no white space.
    self.body.append(re.sub(r"\n\s*", "", mathml(node)))
    raise nodes.SkipNode


def visit_math_block(self: Any, node: nodes.math_block) -> None:
    """Write an equation of its own, with its number."""
    self.body.append(self.starttag(node, "div", CLASS="math"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(mathml(node, block=True) + "</div>\n")
    raise nodes.SkipNode


def escape_moduli(line: str) -> str:
    """Make the bars of a line plain, but for those within literals."""
    parts = re.split(r"(``.*?``)", line)
    parts[::2] = [part.replace("|", r"\|") for part in parts[::2]]
    return "".join(parts)


def read_docstring(
    app: Sphinx, what: str, name: str, thing: object, options: Any, lines: list[str]
) -> None:
    """Turn a numpydoc docstring into what Sphinx reads."""
    # Left to itself, napoleon takes what precedes a colon for the type of a constant or property.
    kind = "object" if what in ("attribute", "data", "property") else what
    plain = [escape_moduli(line) for line in lines]
    lines[:] = NumpyDocstring(plain, app.config, app, kind, name, thing, options).lines()


def plain_if_private(
    app: Sphinx, environment: Any, node: Any, shown: nodes.Element
) -> nodes.Element | None:
    """Show a private name of ours that a signature holds without a link: it has no entry."""
    target = str(node.get("reftarget"))
    private = target.startswith("misr4d.") and target.rpartition(".")[2].startswith("_")
    return shown if private else None


def drop_thebe(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Leave out the scripts of live cells, whose kernel would be asked from the network."""
    scripts = context.get("script_files", [])
    context["script_files"] = [
        script
        for script in scripts
        if "thebe" not in str(script.filename or script.attributes.get("body"))
    ]


_FIGURE = re.compile(r'(<figure\b[^>]*>\s*)(<img\b[^>]*?\bsrc="([^"]+)"[^>]*>)')


def link_full_size(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any
) -> None:
    """Let the image of every figure be a link to itself, where it opens at full size."""
    if body := context.get("body"):
        link = r'\1<a class="full-size" href="\3" title="Open at full size">\2</a>'
        context["body"] = _FIGURE.sub(link, body)


_ICON = (
    "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 16 16'%3E"
    "%3Ccircle cx='8' cy='8' r='7' fill='%230a7d91'/%3E%3C/svg%3E"
)


def add_icon(app: Sphinx, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Give a page its icon, a bright disc: a browser would ask the server for one, in vain."""
    context["metatags"] = f'{context.get("metatags", "")}<link rel="icon" href="{_ICON}">'


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_math_block, None))
    app.connect("autodoc-process-docstring", read_docstring)
    app.connect("missing-reference", plain_if_private)
    app.connect("html-page-context", drop_thebe)
    app.connect("html-page-context", link_full_size)
    app.connect("html-page-context", add_icon)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
