"""An app with users of several kinds, for the tests of scopes."""
