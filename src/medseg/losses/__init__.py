"""Losses: logits and integer labels in, a scalar out; each is one file and one YAML."""
