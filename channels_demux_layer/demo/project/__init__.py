"""The demo's Django project: three streams, a page that uses them, no database and no secret."""
