"""What `unioncore-ops render-config` is made of: Alertmanager's configuration and Prometheus' targets."""
