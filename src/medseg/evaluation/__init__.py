"""Metrics that say what they mean, cases, summaries with receipts, and the report of a run."""
