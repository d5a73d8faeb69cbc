"""GitOps for the metadata of threads, conversations and their siblings on OpenAI-style APIs."""

__version__ = "0.1.0"

OWN_FOLDER = ".reconciler"
"""The folder of files that are ours alone, beside the settings file; it ignores itself, so that git never has it."""
