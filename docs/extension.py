"""What the site adds to Sphinx: formulas without a script, and names in the text that lead to the reference."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx
from sphinx.transforms.post_transforms import SphinxPostTransform

CHINESE = {"Next": "下一页", "Previous": "上一页", "Home": "首页", "On this page": "本页内容"}
NAME = re.compile(r"(tl\.[\w.]+)(?:\(.*\))?", re.S)


class NamesAreLinks(SphinxPostTransform):
    """`tl.fit` in the text leads to its entry in the reference, if there is one."""

    default_priority = 20

    def run(self, **kwargs: Any) -> None:
        known = self.env.domains["py"].objects
        for literal in list(self.document.findall(nodes.literal)):
            match = NAME.fullmatch(literal.astext())
            linked = isinstance(literal.parent, nodes.reference)
            if match and match[1] in known and not linked and self.app.builder:
                entry = known[match[1]]
                if entry.docname == self.env.docname and entry.docname == "reference/index":
                    continue
                address = self.app.builder.get_relative_uri(self.env.docname, entry.docname) + "#" + entry.node_id
                link = nodes.reference("", "", internal=True, refuri=address, classes=["name"])
                literal.replace_self(link)
                link += literal


def _inline(writer: Any, node: nodes.math) -> None:
    writer.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def _block(writer: Any, node: nodes.math_block) -> None:
    writer.body.append(f'<div class="math">{latex2mathml.tex2mathml(node.astext(), as_block=True)}</div>\n')
    raise nodes.SkipNode


def _language(app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any) -> None:
    """Browsers choose the shapes of characters by the language of a page; around a page in Chinese stands Chinese."""
    if pagename.startswith("zh/"):
        context["language"] = "zh-Hans"
        context["_"] = lambda text: CHINESE.get(text, text)


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_post_transform(NamesAreLinks)
    app.connect("html-page-context", _language)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
