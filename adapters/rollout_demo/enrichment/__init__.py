"""Data enrichment: a customer record completed by three HTTP services, one busy now and then, one down for long."""
