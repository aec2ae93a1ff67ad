"""The Django project that the acceptance tests deploy as real processes."""
