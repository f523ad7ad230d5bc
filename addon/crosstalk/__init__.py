"""
Is this answer ours?

`watch` follows one attempt's answer, fact by fact; `detectors` say what a fact means; `verdict` adds up what they
found; `evidence` writes it down. Nothing here knows a proxy, a clock or a file, so the same code judges a saved flow.
"""
