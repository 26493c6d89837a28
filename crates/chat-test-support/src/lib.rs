//! Real Redis and PostgreSQL fixtures and a whole-system harness.
