//! The fixtures do what the other tests rely on, and the whole system, as real processes, keeps its promises.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod postgres;
mod proxy;
mod redis;
mod wait;

mod busy;
mod collector;
mod listener;
mod scene;
mod sql;
mod stock;
mod traffic;

mod admission;
mod bounds;
mod browser;
mod bus;
mod catch_up;
mod dashboards;
mod demo;
mod departures;
mod everyone;
mod faults;
mod frames;
mod javascript;
mod lost;
mod membership;
mod metrics_page;
mod presence;
mod redis_away;
mod registry;
mod reset;
mod return_of_many;
mod revoked;
mod rolling_restart;
mod rooms_apart;
mod seam;
mod sending;
mod storage_away;
mod termination;
mod traces;
