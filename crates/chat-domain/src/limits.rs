//! The bounds of what a user may write. Lengths are in Unicode scalar values, sizes in bytes.

/// Longest message text.
pub const MESSAGE_TEXT: usize = 5_000;
/// Longest channel name.
pub const CHANNEL_NAME: usize = 100;
/// Longest channel description.
pub const CHANNEL_DESCRIPTION: usize = 500;
/// Longest file name.
pub const FILE_NAME: usize = 255;
/// Longest URL of an attachment.
pub const URL: usize = 2_048;
/// Longest MIME type.
pub const MIME_TYPE: usize = 127;
/// Largest image, as declared by the sender.
pub const IMAGE_SIZE: u64 = 10 * 1024 * 1024;
/// Largest file, video or audio, as declared by the sender.
pub const FILE_SIZE: u64 = 50 * 1024 * 1024;
/// Longest id that a client may give to its message.
pub const CLIENT_MESSAGE_ID: usize = 100;
/// Most members that a channel may be created with, its owner included.
pub const INITIAL_MEMBERS: usize = 200;
/// Longest user name.
pub const USERNAME: usize = 100;
/// Longest e-mail address (RFC 5321).
pub const EMAIL: usize = 254;
