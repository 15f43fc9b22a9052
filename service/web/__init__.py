"""HTTP mechanics that would serve any resource. Nothing here knows of items."""
