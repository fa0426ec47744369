"""What `benchmarks/patches.py` runs: a file per loader, their cohort, and how they are measured."""
