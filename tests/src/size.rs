//! Tests in two sizes: one that fits every run, and one that the guarantees are measured with.
//!
//! The full size takes minutes, wants a machine to itself, and prints its figures:
//!
//! ```console
//! $ GREETER_FULL=1 cargo test --release -p greeter-tests -- --test-threads 1
//! ```

use std::fmt::Display;
use std::io::Write;

/// Whether the full size was asked for.
pub fn is_full() -> bool {
    std::env::var_os("GREETER_FULL").is_some_and(|value| value == "1")
}

/// One of two values, by the size.
pub fn sized<T>(everyday: T, full: T) -> T {
    if is_full() { full } else { everyday }
}

/// Tells a figure that was measured, at full size. At any other it means nothing.
pub fn figure(what: &str, value: impl Display) {
    if is_full() {
        tell(&format!("{what}: {value}"));
    }
}

/// Says something past the test harness, which shows only what a failed test says.
pub fn tell(message: &str) {
    let _ = writeln!(std::io::stderr(), "\n{message}");
}
