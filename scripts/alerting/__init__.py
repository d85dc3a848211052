"""What is alerted on: thresholds, and the Prometheus rules that are made from them."""
