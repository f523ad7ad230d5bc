"""
Crosstalk detection: `watch` feeds the facts of an answer to the `detectors`, `verdict` weighs their findings, `report`
formats the result. The code takes neither proxy nor clock nor file, so `reverify` runs it over stored flows.
"""
