"""
Patchbay, a mitmproxy addon: many LLM accounts behind the tools a developer already uses.

For every request it finds out whose conversation this is (`identity`), which account serves it (`accounts`), puts that
account's credential on the wire and stamps the request (`correlation`), and says of every answer whether it is ours
(`crosstalk`). `router` is the story of one exchange; `proxy` is the only package that knows mitmproxy.
"""
