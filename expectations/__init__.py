"""What good data looks like, as promises with reasons, and what happens to data that is not."""
