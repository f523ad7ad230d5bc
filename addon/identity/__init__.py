"""
Which conversation is a request part of?

`signals` reads session ids, `history` the turns, `references` the ids of earlier answers. `learn` fills the tables from
answers: `prefixes`, `first_turns`, `lineage` and others. `identify` makes one `Identity` of them all.
"""
