//! Lets the server say which commit it was built from.

fn main() {
    common_build::git();
}
