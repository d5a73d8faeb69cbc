"""Renderers: the one document as text for somebody; pure functions, no input and no output of their own."""
