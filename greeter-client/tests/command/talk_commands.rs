//! `check` and `fmt` as a process.

#[path = "../talk/bad.rs"]
mod bad;
use std::fs;

use crate::kit::{Folder, bare_greeter_client, run_with};

#[test]
fn check_counts_what_is_right() {
    let folder = Folder::new("right", &[("a.talk", "> a\n< b\n"), ("b.md", "```talk\n> c \n```\n")]);
    folder.run(&["check", "a.talk"]).is(0, "1 script, 2 steps: no error\n", "");
    folder.run(&["check", "."]).is(
        0,
        "2 scripts, 3 steps: no error, 1 warning\n",
        "./b.md:2:4: warning: the blanks at the end are part of the line\n  > c \n     ^\n  \
         help: where they are meant, the raw form shows them, as in \"Bob  \\n\"\n",
    );
}

#[test]
fn check_tells_every_error_of_every_file_and_ends_with_2() {
    let folder =
        Folder::new("wrong", &[("a.talk", ">Bob\n> ok\n\ttiemout 5s\n"), ("b.talk", "> \n"), ("c.talk", "<*")]);
    folder.run(&["check", "a.talk", "none.talk", "b.talk", "c.talk"]).is(
        2,
        "",
        "a.talk:1:2: error: '>Bob' is no statement\n  >Bob\n   ^^^\n  \
         help: to send a line put one space after >: '> Bob'\n\
         a.talk:3:2: error: 'tiemout' is no control word\n  \\ttiemout 5s\n    ^^^^^^^\n  \
         help: did you mean 'timeout'? to send the line write '> tiemout 5s'\n\
         error: cannot read none.talk: No such file or directory (os error 2)\n\
         b.talk:1:2: warning: the blank at the end has no meaning\n  > \n   ^\n\
         c.talk:1:1: error: nothing follows on this connection that could be skipped to\n  <*\n  ^^\n\
         error: 4 errors in 4 scripts, 1 warning\n",
    );
}

/// What stderr says of one script, in short: `line:column: severity: message (help)`. Its last line
/// is the command's own.
fn told(stderr: &str) -> (String, &str) {
    let (diagnostics, last) = stderr.trim_end().rsplit_once('\n').unwrap();
    let mut told = String::new();
    for line in diagnostics.lines() {
        match (line.strip_prefix("x.talk:"), line.strip_prefix("  help: ")) {
            (Some(diagnostic), _) if told.is_empty() => told += diagnostic,
            (Some(diagnostic), _) => told += &format!("\n{diagnostic}"),
            (None, Some(help)) => told += &format!(" ({help})"),
            // The line of the script, and what points into it.
            (None, None) => assert!(line.starts_with("  "), "{line}"),
        }
    }
    (told, last)
}

#[test]
fn every_bad_script_is_told_by_check_and_by_run_and_ends_them_with_2() {
    let known = bad::LINES.iter().chain(bad::FLOWS).map(|&(text, expected)| (text.as_bytes().to_vec(), expected));
    let folder = Folder::new("bad", &[]);
    for (text, expected) in known.chain(bad::odd()).filter(|(_, expected)| !expected.is_empty()) {
        // In a file, this is about another one.
        if text == b"include setup.talk" {
            continue;
        }
        fs::write(folder.0.join("x.talk"), &text).unwrap();
        for (command, last) in [
            (&["check", "x.talk"][..], "error: 1 error in 1 script"),
            (&["--connect", "127.0.0.1:1", "run", "x.talk"], "error: nothing was run: scripts with errors: 1"),
        ] {
            let outcome = folder.run(command);
            assert_eq!((outcome.code, &*outcome.stdout), (Some(2), &b""[..]), "{}", text.escape_ascii());
            assert_eq!(told(&outcome.stderr), (expected.to_owned(), last));
        }
    }
}

#[test]
fn every_doubtful_script_is_told_and_may_run() {
    let folder = Folder::new("doubtful", &[]);
    for (text, expected) in bad::WARNINGS {
        fs::write(folder.0.join("x.talk"), text).unwrap();
        let outcome = folder.run(&["check", "x.talk"]);
        assert!(outcome.code == Some(0) && outcome.stdout.ends_with(b": no error, 1 warning\n"), "{outcome:?}");
        assert_eq!(told(&format!("{}end", outcome.stderr)), ((*expected).to_owned(), "end"));
    }
}

#[test]
fn without_a_path_there_is_nothing_to_do() {
    let folder = Folder::new("usage", &[]);
    let more = "\nfor more: greeter-client --help\n";
    folder.run(&["check"]).is(2, "", &format!("error: check needs a file or a folder{more}"));
}

#[test]
fn fmt_rewrites_what_differs_and_nothing_else() {
    let folder = Folder::new("fmt", &[("a.talk", "#One.\n\n\n>  Bob \n"), ("b.talk", "> b\n"), ("c.talk", ">bad")]);
    let before = fs::metadata(folder.0.join("b.talk")).unwrap().modified().unwrap();
    folder.run(&["fmt", "--check", "a.talk", "b.talk"]).is(
        1,
        "",
        "a.talk: not in the normal form\nerror: 1 of 2 not in the normal form: greeter-client fmt changes that\n",
    );
    assert_eq!(folder.text("a.talk"), "#One.\n\n\n>  Bob \n");
    folder.run(&["fmt", "a.talk", "b.talk"]).is(0, "", "");
    assert_eq!(folder.text("a.talk"), "# One.\n\n>  Bob \n");
    assert_eq!(fs::metadata(folder.0.join("b.talk")).unwrap().modified().unwrap(), before);
    folder.run(&["fmt", "--check", "a.talk", "b.talk"]).is(0, "", "");

    let bad = folder.run(&["fmt", "c.talk", "none.talk", "a.talk"]);
    assert_eq!(bad.code, Some(2));
    assert!(
        bad.stderr.contains("c.talk:1:2: error: ") && bad.stderr.contains("error: none.talk: cannot read: No such")
    );
    assert!(bad.stderr.ends_with("error: 2 of 3 left as they are\n"), "{}", bad.stderr);
    assert_eq!(folder.text("c.talk"), ">bad");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 3, "no temporary file is left");
}

#[test]
fn fmt_takes_folders_and_the_blocks_of_markdown() {
    let page = "# Page\n\n  sleep   1000ms\n\n```talk\n\n\n #One.\n> a  b\n\n```\n- In a list:\n\n  ```talk x\n  sleep 1000ms\n\n\n  eol   lf\n  ```\n\n\
        ```talk-other\n  sleep   1000ms\n```\n~~~ talk\nsleep 1000ms";
    let normal = "# Page\n\n  sleep   1000ms\n\n```talk\n# One.\n> a  b\n```\n- In a list:\n\n  ```talk x\n  sleep 1s\n\n  eol lf\n  ```\n\n\
        ```talk-other\n  sleep   1000ms\n```\n~~~ talk\nsleep 1s\n";
    let folder = Folder::new(
        "fmt-folder",
        &[("a.talk", "sleep 1000ms\n"), ("b.md", page), ("c.md", "# No script\r\n \n"), ("d.txt", "sleep 1000ms\n")],
    );
    folder.run(&["fmt", "--check", ".", "a.talk"]).is(
        1,
        "",
        "./a.talk: not in the normal form\n./b.md: not in the normal form\na.talk: not in the normal form\n\
         error: 3 of 4 not in the normal form: greeter-client fmt changes that\n",
    );
    folder.run(&["fmt", "."]).is(0, "", "");
    assert_eq!(folder.text("a.talk"), "sleep 1s\n");
    assert_eq!(folder.text("b.md"), normal);
    assert_eq!(folder.text("c.md"), "# No script\r\n \n");
    assert_eq!(folder.text("d.txt"), "sleep 1000ms\n");
    folder.run(&["fmt", "--check", "."]).is(0, "", "");
}

#[test]
fn fmt_leaves_a_page_alone_of_which_one_block_is_wrong() {
    let page = "```talk\nsleep 1000ms\n```\n```talk\n>Bob\n```\n";
    let folder = Folder::new("fmt-bad-page", &[("a.md", page)]);
    folder.run(&["fmt", "a.md"]).is(
        2,
        "",
        "a.md:5:2: error: '>Bob' is no statement\n  >Bob\n   ^^^\n  \
         help: to send a line put one space after >: '> Bob'\nerror: 1 of 1 left as they are\n",
    );
    assert_eq!(folder.text("a.md"), page);
    fs::create_dir(folder.0.join("empty")).unwrap();
    folder.run(&["fmt", "empty"]).is(2, "", "error: empty holds no script\nerror: 1 of 1 left as they are\n");
}

#[test]
fn fmt_reads_stdin() {
    run_with(&mut bare_greeter_client(&["fmt"]), "  sleep   1000ms").is(0, "sleep 1s\n", "");
    let outcome = run_with(&mut bare_greeter_client(&["fmt", "--check"]), "sleep 1000ms");
    assert_eq!((outcome.code, &outcome.stdout[..]), (Some(1), &b""[..]));
    assert_eq!(run_with(&mut bare_greeter_client(&["fmt"]), ">bad").code, Some(2));
}

#[cfg(unix)]
#[test]
fn fmt_keeps_permissions_and_links() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = Folder::new("links", &[("a.talk", "sleep 1000ms")]);
    let path = folder.0.join("a.talk");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("a.talk", folder.0.join("link.talk")).unwrap();
    folder.run(&["fmt", "link.talk"]).is(0, "", "");
    assert_eq!(folder.text("a.talk"), "sleep 1s\n");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(folder.0.join("link.talk")).unwrap().is_symlink());
}
