//! The fixtures do what the other tests rely on, and the whole system, as real processes, keeps its promises.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod postgres;
mod proxy;
mod redis;
mod wait;

mod scene;
mod sql;
mod stock;
mod traffic;

mod admission;
mod bounds;
mod browser;
mod bus;
mod demo;
mod departures;
mod everyone;
mod frames;
mod javascript;
mod lost;
mod membership;
mod redis_away;
mod reset;
mod seam;
mod sending;
