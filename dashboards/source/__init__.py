"""Where the Grafana dashboards are made. ``python -m dashboards.source``, in a checkout, writes them anew.

Plain dictionaries of Grafana's classic model, one function for each kind of panel. Grafana's own builder library is not
used: an install without a pin resolves to builders of Grafana 10.1, and pinned (0.0.21) it is 1,300 classes for the
five kinds of panel that stand here. Nor does it check a metric or an expression; ``tests/dashboards`` does.
"""
