"""Airflow on one machine: its PostgreSQL, its processes, and nights run through it."""
