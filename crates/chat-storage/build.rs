//! A new migration file must be compiled in, which nothing but this makes Cargo notice.

fn main() {
    println!("cargo::rerun-if-changed=migrations");
}
