"""Loops over label maps and bit masks, compiled on first use."""
