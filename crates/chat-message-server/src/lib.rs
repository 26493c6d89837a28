//! The HTTP API: validates, appends to the durable log, publishes.
