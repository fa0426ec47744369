"""Encoders, decoders and whole networks; each architecture is one file and one YAML."""
