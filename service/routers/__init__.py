"""HTTP to use case and back: parse, call, map."""
