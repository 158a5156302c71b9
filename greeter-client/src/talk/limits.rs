//! How large a script and its parts may be.

/// The largest file that is read, in bytes: whatever is larger is no script.
pub const SCRIPT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The longest line of a script, in bytes without its ending. What is longer repeats itself: there is the raw form.
pub const LINE_BYTES_MAX: usize = 1024 * 1024;
/// The most bytes that one raw step sends or expects, repetition included, and that `<bytes` takes: enough to try every
/// limit of a line server, and little enough to hold in memory.
pub const RAW_BYTES_MAX: usize = 64 * 1024 * 1024;
/// The most members of a crowd: as many connections as a client can have from one address with room to spare.
pub const CROWD_MAX: usize = 10_000;
/// How deep files may include each other: deeper is a mistake.
pub const INCLUDES_DEEP_MAX: usize = 16;
/// How often a script may include, in all its files together: files that include each other twice multiply.
pub const INCLUDES_MAX: usize = 10_000;
/// The most steps of a script, included ones among them.
pub const STEPS_MAX: usize = 1_000_000;
/// The most problems that are told of a script: whoever has so many is not writing one.
pub const PROBLEMS_MAX: usize = 1_000;
