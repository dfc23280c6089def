"""Groups of commands, one file each; `consumer/__main__.py` registers them."""
