"""
Whose conversation is this?

`signals` reads the ids a request names itself by, `canonical` what it says and `quotes` what it repeats of earlier
answers; `chain`, `lineage`, `aliases` and `readings` remember. `identify` makes one `Identity` of it all, `learn` takes
in what answers gave away. `scope` reads who the client is, `sidecalls` what is no part of a conversation.
"""
