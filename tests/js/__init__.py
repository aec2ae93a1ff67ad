"""Tests of the browser's client, in Node."""
