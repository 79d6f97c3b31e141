//! The migrations are embedded, so a new file has to be noticed.

fn main() {
    println!("cargo:rerun-if-changed=../../migrations/sqlite");
}
