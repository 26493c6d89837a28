//! Rooms over a real log and the bus in memory, at the seams that processes hit by chance only.

#![expect(clippy::unwrap_used, reason = "what does not work fails the test")]

mod batch;
mod reconcile;
mod registry;
mod repair;
mod resume;
mod rooms;
mod socket;
mod standing;
mod world;
