"""
Which account? What an answer said about the one it came from, who is fit to serve, and who keeps whom.

`complaint` reads an error body of any shape, `limits` the hints when to come back, `outcome` sums both up. `health`
holds what follows from outcomes, `bindings` who is at home where, `selection` how to order accounts, `models` what they
serve, `refusals` what we say when none can. `pool` is the face of this wing; the house asks only it, `outcome` and
`limits`.
"""
