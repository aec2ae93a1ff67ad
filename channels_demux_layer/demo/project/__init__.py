"""The demo's Django project: five streams and a page that uses them. It has no database."""
