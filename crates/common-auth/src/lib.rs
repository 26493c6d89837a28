//! Tokens in, authenticated principals out.
