"""What a browser gets for `/`: what this is, and how a tool uses it. Nothing of this installation stands in it."""

from __future__ import annotations

from html import escape

from mitmproxy import http

from .. import tool_recipes
from ..dialects import FAMILIES
from ..tool_recipes import Way

_HEADERS = {
    "content-type": "text/html; charset=utf-8",
    "cache-control": "no-store",
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}
_PAGE = """\
<!doctype html><html lang="en"><meta charset="utf-8"><title>Patchbay</title>
<meta name="viewport" content="width=device-width">
<style>
body {{font: 16px/1.5 system-ui, sans-serif; max-width: 46rem; margin: 3rem auto; padding: 0 1rem}}
dt {{margin-top: 1rem}} dd {{margin: 0}} code {{font: 14px ui-monospace, monospace; user-select: all}}
</style>
<h1>Patchbay</h1>
<p>An addon for mitmproxy, listening at <code>{url}</code>. LLM tools use it in the place of their provider;
it keeps each conversation on one of your accounts. The key that a tool sends does not matter.</p>
<dl>{lines}</dl>
<p>What passes is shown in the terminal where Patchbay runs, and in mitmweb. <code>patchbay status</code> and
<code>patchbay accounts</code> tell how it stands, <code>patchbay doctor</code> what is wrong.</p>
</html>
"""


def response(url: str) -> http.Response:
    """Return the page for the listener at *url*."""
    told = (*tool_recipes.lines(FAMILIES, Way(url, key="any")), ("any tool", "patchbay run -- COMMAND"))
    lines = "".join(f"<dt>{escape(title)}<dd><code>{escape(line)}</code>\n" for title, line in told)
    return http.Response.make(200, _PAGE.format(url=escape(url), lines=lines).encode(), _HEADERS)
