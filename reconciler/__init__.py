"""GitOps for the metadata of threads, conversations and their siblings on OpenAI-style APIs."""

__version__ = "0.1.0"
