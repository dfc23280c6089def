"""Groups of commands, one file each; `consumer/__main__.py` registers them.

What a command runs is imported when it runs: the help text should not load ONNX Runtime.
"""
