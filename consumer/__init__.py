"""A streaming duplicate detector over Kafka. Start reading at `records.py`, then `match.py`, then `loop.py`."""
