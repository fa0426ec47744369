"""Logits of several networks, one per modality, into those of one: each way is one file."""
