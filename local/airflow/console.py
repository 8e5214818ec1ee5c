"""What people are told while Airflow works."""

from rich.console import Console

console = Console(stderr=True, highlight=False)
