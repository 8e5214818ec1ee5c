"""What is watched once a night is published."""
