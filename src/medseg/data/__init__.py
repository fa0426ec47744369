"""From a folder of scans to a store of preprocessed cases: cohort, formats, splits, plan, store."""
