"""Runs side by side: one page that opens anywhere, pictures, CSV, JSON."""
