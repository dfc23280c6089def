"""How good an encoder is at what it is for, beside what one would use without it: `python -m export.evaluate`."""
