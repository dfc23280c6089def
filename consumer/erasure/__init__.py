"""Asking for a record to be forgotten, and proving that it was."""
