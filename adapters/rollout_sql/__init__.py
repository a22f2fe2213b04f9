"""The ledger and the state store over SQLAlchemy: SQLite and PostgreSQL."""
