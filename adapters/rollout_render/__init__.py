"""Tables for a terminal and pages for a browser."""
