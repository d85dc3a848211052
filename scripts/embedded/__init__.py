"""Servers that live and die with the process that starts them: verify's own PostgreSQL, the demo's, the tests'."""
