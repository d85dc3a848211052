"""`python -m exporter` is `unioncore-exporter`."""

from exporter.cli import main

main(prog_name="unioncore-exporter")
