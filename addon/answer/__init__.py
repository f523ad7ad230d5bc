"""Reading an upstream's answer: framing, events, facts."""
