//! `convert` as a process: what goes where, and how it ends. What becomes of a text is tested
//! without the command.

use crate::kit::{Folder, bare_greeter_client, run_with};

const WHOLE: &str = "S: 220 hi\nC: QUIT\nS: ...\n";
const DRAFT: &str = "# A draft, made of an RFC's transcript: read it before you run it.\n\neol crlf\n< 220 hi\n> QUIT\n\
                     # ... may stand for what was left out\n< ...\n";

#[test]
fn a_draft_goes_to_stdout_and_what_to_look_at_to_stderr() {
    let folder = Folder::new("convert", &[("a.txt", WHOLE), ("b.txt", "C: a\n  b\n  c\n")]);
    folder.run(&["convert", "a.txt"]).is(0, DRAFT, "a.txt:3: kept as it is: ... may stand for what was left out\n");
    folder.run(&["convert", "b.txt"]).is(
        1,
        "# A draft, made of an RFC's transcript: read it before you run it.\n\neol crlf\n> a\n#   b\n#   c\n",
        "b.txt:2-3: not said: the rest of a line that was folded, or a line that does not say who speaks\n\
         error: not all of b.txt can be said: what is not is a comment\n",
    );
}

#[test]
fn a_draft_is_a_script_in_the_normal_form() {
    let folder = Folder::new("converted", &[]);
    let outcome = run_with(bare_greeter_client(&["convert"]).current_dir(&folder.0), WHOLE);
    outcome.is(0, DRAFT, "stdin:3: kept as it is: ... may stand for what was left out\n");
    std::fs::write(folder.0.join("a.talk"), outcome.stdout).unwrap();
    folder.run(&["check", "a.talk"]).is(0, "1 script, 4 steps: no error\n", "");
    folder.run(&["fmt", "--check", "a.talk"]).is(0, "", "");
}

#[test]
fn what_cannot_be_converted_is_told_and_nothing_is_printed() {
    let telnet = "Trying 127.0.0.1...\nEscape character is '^]'.\n220 hi\n";
    let files = [("telnet", telnet), ("a.talk", "> Bob\n"), ("prose", "Bob\n")];
    let folder = Folder::new("unconverted", &files);
    for (file, why) in [
        ("telnet", "cannot convert telnet: what telnet shows does not tell who said what"),
        ("a.talk", "cannot convert a.talk: it is a script already"),
        ("prose", "cannot convert prose: nothing in it says who speaks"),
        ("none\u{1b}", "cannot read none\\e: No such file or directory"),
    ] {
        let outcome = folder.run(&["convert", file]);
        assert_eq!((outcome.code, outcome.stdout), (Some(2), Vec::new()), "{file}");
        assert!(outcome.stderr.starts_with(&format!("error: {why}")), "{}", outcome.stderr);
    }
}
