//! What the API answers with.

mod channel;
mod member;
mod message;
mod page;
mod user;

pub(crate) use channel::ChannelView;
pub(crate) use member::MemberView;
pub(crate) use message::MessageView;
pub(crate) use page::{Page, PageLinks};
pub(crate) use user::{ManagedUser, Profile, PublicUser};
