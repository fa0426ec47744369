"""Features of several modalities into those of one: each way is one file."""
