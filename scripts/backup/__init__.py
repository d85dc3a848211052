"""Backups that prove themselves: what the jobs `backup`, `verify`, `restore` and `list` share."""
