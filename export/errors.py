"""What the exporter refuses to do, with the reason."""


class ExportError(Exception):
    """Nothing was written. The message says what was wrong and what to do; the command line exits 1 with it."""
