"""The groups of rules, one file a subject."""
