"""
Which account serves an attempt, and what its answer says about that account.

`pool` is the entrance. It chooses with `eligibility` (the accounts that could serve), `health` and `cooldown` (those
that may be used), `limiter` and `account_limits` (those that have room), `bindings` (the homes of conversations),
`selection` (strategies) and `models`; it returns a `lease`, or a refusal in the words of `refusals`. `outcome`
classifies an answer, with `error_body`, `quoted_text` and the hints that `limits` reads.
"""
