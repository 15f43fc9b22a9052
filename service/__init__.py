"""The item service: a catalogue over HTTP, with PostgreSQL as the truth and Redis as its cache."""
