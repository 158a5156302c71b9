//! Turns the arguments of one command into a call of the library, and its outcome into what is
//! printed and an exit code: a file for each command. None of them may know the prompt.

mod bless;
pub(super) mod check;
pub(super) mod completions;
pub(super) mod convert;
pub(super) mod fmt;
pub(super) mod greet;
pub(super) mod load;
pub(super) mod pipe;
mod progress;
pub(super) mod record;
pub(super) mod run;
pub(super) mod scripts;
