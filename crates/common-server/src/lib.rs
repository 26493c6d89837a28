//! Process plumbing: configuration, lifecycle, readiness, management port, problem details.
