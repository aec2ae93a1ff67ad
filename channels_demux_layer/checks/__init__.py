"""System checks: what would fail at run time, found by ``manage.py check``."""
