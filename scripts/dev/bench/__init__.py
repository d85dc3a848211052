"""`make bench`: what a scrape costs, beside the naive queries of the old metrics page and beside query-exporter."""
