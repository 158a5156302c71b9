//! The library, whose connections, sessions and scripts meet servers that live for one test: what
//! it does without any feature.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// Servers that do what a test says, which the others use.
mod kit;

/// Lines that may come in any order.
mod any_order;
/// What becomes of a connection to a server that does not keep to the rules.
mod bad_servers;
/// Lines that may come before what is expected, or must not, however their bytes were cut.
mod before;
/// What blessing makes of this script and that.
mod bless;
/// What holds for blessing whatever the script.
mod bless_any;
/// Values that scripts compute.
mod calculations;
/// How a connection comes about, or does not.
mod connecting;
/// What others have written down, as the draft of a script.
mod convert;
/// Bytes that are counted and captured.
mod counted_bytes;
/// The grammars for editors.
mod grammars;
/// A connection that is asked one line at a time.
mod lines;
/// A connection between a reader and a writer.
mod pipe;
/// A connection with many lines on their way.
mod pipeline;
/// Prompts, in a session and in a script, however their bytes were cut.
mod prompts;
/// Scripts that are made of what happened.
mod recorder;
/// What a report of a run has in it, in each of its forms.
mod report;
/// Secrets: what is made of them by who runs and writes scripts.
mod secrets;
/// Sessions: how their connections come about.
mod session_connecting;
/// Sessions: groups of connections.
mod session_crowds;
/// Sessions: how their connections end.
mod session_endings;
/// Sessions: what is expected, and what is said when something else comes.
mod session_expectations;
/// Sessions: what is sent, and when.
mod session_sending;
/// Sessions: what they remember.
mod session_transcript;
/// What holds for any text that is taken for a script.
mod talk_corpus;
/// Scripts: changes to their lines.
mod talk_edits;
/// Scripts: files, folders, Markdown, and what is included.
mod talk_files;
/// Scripts: what the parser makes of them, and what it says.
mod talk_parse;
/// Scripts: what patterns match, and what they bind.
mod talk_patterns;
