//! `/api/v1/channels`.

pub(super) mod add_member;
pub(super) mod change;
pub(super) mod close;
pub(super) mod create;
pub(super) mod detail;
pub(super) mod events;
pub(super) mod list;
pub(super) mod members;
pub(super) mod remove_member;
