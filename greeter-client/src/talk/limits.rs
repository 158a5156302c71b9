//! How large a script and its parts may be.

/// The largest file that is read, in bytes: whatever is larger is no script.
pub const MAX_SCRIPT_BYTES: usize = 64 * 1024 * 1024;
/// The longest line of a script, in bytes without its ending. What is longer repeats itself: there
/// is the raw form.
pub const MAX_LINE_BYTES: usize = 1024 * 1024;
/// The most bytes that one raw step sends or expects, repetition included, and that `<bytes` takes:
/// enough to try every limit of a line server, and little enough to hold in memory.
pub const MAX_RAW_BYTES: usize = 64 * 1024 * 1024;
/// The most bytes that `<bytes` captures: as much as the longest line of a script could say.
pub const MAX_CAPTURED_BYTES: usize = MAX_LINE_BYTES;
/// The most bytes that a prompt is met by: whatever unfinished line is longer is no prompt, and
/// each place at which one may end is looked at.
pub const MAX_PROMPT_BYTES: usize = 4096;
/// The most lines that may come in any order, together: for each that comes, all the others may be
/// given another place.
pub const MAX_ANY_ORDER: usize = 100;
/// The most members of a crowd: as many connections as a client can have from one address with room
/// to spare.
pub const MAX_CROWD: usize = 10_000;
/// The shortest value of a secret, in bytes: of what is shorter, so much is found in every report
/// that nothing could be read in it.
pub const MIN_SECRET_BYTES: usize = 4;
/// How deep files may include each other: deeper is a mistake.
pub const MAX_INCLUDE_DEPTH: usize = 16;
/// How often a script may include, in all its files together: files that include each other twice
/// multiply.
pub const MAX_INCLUDES: usize = 10_000;
/// The most steps of a script, included ones among them.
pub const MAX_STEPS: usize = 1_000_000;
/// The most diagnostics of a script: whoever has so many is not writing one.
pub const MAX_DIAGNOSTICS: usize = 1_000;
/// How much of a value an error has that is no number, in bytes: as much as is shown of it.
pub(crate) const MAX_SHOWN_VALUE_BYTES: usize = 40;
