"""A plausible past for the demo's Prometheus: 35 days that lead up to what is measured now."""
