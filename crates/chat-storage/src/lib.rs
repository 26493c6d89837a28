//! The ports of chat-domain over SQLite and PostgreSQL.
