"""The demo's page, and a ported one, in a real browser."""
