//! `run --bless` and `run --report` as a process.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::process::Stdio;

use greeter_client::ServerAddress;

use crate::kit::{self, Folder, Outcome, Says, bare_greeter_client, puppet, run};

fn server() -> ServerAddress {
    let says = |line: &str| (line.to_owned(), Says::lines(&[&format!("Hello, {line}")]));
    puppet(BTreeMap::from([says("Bob"), says("Ann")]))
}

/// Runs with these arguments where the environment says `CI` or nothing.
fn run_in(folder: &Folder, address: &ServerAddress, ci: Option<&str>, arguments: &[&str]) -> Outcome {
    let mut command = bare_greeter_client(&["--connect", &address.to_string(), "run"]);
    command.args(arguments).current_dir(&folder.0).env_remove("CI");
    if let Some(ci) = ci {
        command.env("CI", ci);
    }
    run(&mut command)
}

const SCRIPT: &str = "# A greeting.\n> Bob\n< Hello, Rob\n";

#[test]
fn files_are_changed_and_it_is_told_what_changed() {
    let markdown = "# Page\n\n```talk\n> Bob\n```\n\n* A list:\n\n  ```talk\n  > Ann\n  < Hi\n  ```\nThe end.";
    let files = [("a.talk", SCRIPT), ("b.md", markdown), ("c.talk", "> Bob\n< Hello, Bob\n")];
    let (folder, server) = (Folder::new("bless", &files), server());
    let outcome = run_in(&folder, &server, None, &["--bless", "--jobs", "4", "."]);
    assert_eq!(
        outcome.stderr,
        "blessed ./a.talk: -1 +1\n  3 - < Hello, Rob\n    + < Hello, Bob\nblessed ./b.md: -1 +2\n   4 + < Hello, Bob\n  \
         11 - < Hi\n     + < Hello, Ann\n"
    );
    assert_eq!(outcome.code, Some(0));
    assert_eq!(folder.text("a.talk"), SCRIPT.replace("Rob", "Bob"));
    let blessed = markdown.replace("> Bob\n", "> Bob\n< Hello, Bob\n").replace("< Hi", "< Hello, Ann");
    assert_eq!(folder.text("b.md"), blessed);
    assert_eq!(folder.text("c.talk"), files[2].1);

    let outcome = run_in(&folder, &server, None, &["--bless", "."]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
}

#[cfg(unix)]
#[test]
fn a_file_keeps_its_permissions_and_a_link_its_target() {
    use std::os::unix::fs::{PermissionsExt, symlink};

    let folder = Folder::new("bless-mode", &[("a.talk", SCRIPT)]);
    let path = folder.0.join("a.talk");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    symlink("a.talk", folder.0.join("link.talk")).unwrap();
    assert_eq!(run_in(&folder, &server(), None, &["--bless", "link.talk"]).code, Some(0));
    assert_eq!(folder.text("a.talk"), SCRIPT.replace("Rob", "Bob"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o640);
    assert!(fs::symlink_metadata(folder.0.join("link.talk")).unwrap().is_symlink());
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 2);
}

#[test]
fn in_ci_nothing_is_blessed_unless_forced() {
    let (folder, server) = (Folder::new("bless-ci", &[("a.talk", SCRIPT)]), server());
    let outcome = run_in(&folder, &server, Some("true"), &["--bless", "a.talk"]);
    assert_eq!((outcome.code, &outcome.stdout[..]), (Some(2), &b""[..]));
    assert!(outcome.stderr.starts_with("error: --bless changes what is expected"), "{}", outcome.stderr);
    assert_eq!(folder.text("a.talk"), SCRIPT);
    assert_eq!(run_in(&folder, &server, Some("true"), &["--bless", "--force", "a.talk"]).code, Some(0));
    assert_eq!(folder.text("a.talk"), SCRIPT.replace("Rob", "Bob"));
    assert_eq!(run_in(&folder, &server, None, &["--force", "a.talk"]).code, Some(2));
}

#[test]
fn what_cannot_be_blessed_is_left_and_fails() {
    let included = "> Bob\n< Hello, Rob\n";
    let files = [("a.talk", "> Ann\n< Hi\n> Bob\n<nothing 50ms\n"), ("b.talk", "include c\n"), ("c", included)];
    let folder = Folder::new("bless-fails", &files);
    let outcome = run_in(&folder, &server(), None, &["--bless", "a.talk", "b.talk"]);
    assert_eq!((outcome.code, &*outcome.stderr), (Some(1), "error: 2 of 2 scripts failed\n"));
    let report = String::from_utf8(outcome.stdout).unwrap();
    assert!(report.contains("    - <nothing 50ms") && report.contains("  c:2  "), "{report}");
    assert!(!report.contains("accept it with"), "{report}");
    for (name, text) in files {
        assert_eq!(folder.text(name), text);
    }
}

#[test]
fn a_report_for_programs_is_all_that_stdout_has() {
    let files = [("a.talk", "sleep 50ms\n> Bob\n< Hello, Bob\n"), ("b.talk", SCRIPT), ("c.talk", "require server\n")];
    let (folder, server) = (Folder::new("report", &files), server());
    let stdout = |format: &str| {
        let outcome = run_in(&folder, &server, None, &["--jobs", "3", "--report", format, "."]);
        assert_eq!((outcome.code, &*outcome.stderr), (Some(1), "error: 1 of 3 scripts failed\n"));
        String::from_utf8(outcome.stdout).unwrap()
    };
    let tap = stdout("tap");
    let points: Vec<&str> = tap.lines().filter(|line| !line.starts_with("  ")).collect();
    assert_eq!(
        points,
        [
            "TAP version 14",
            "1..3",
            "ok 1 - ./a.talk",
            "not ok 2 - ./b.talk",
            "ok 3 - ./c.talk # SKIP this run has no server of its own: give it one with --server"
        ]
    );
    let json = stdout("json");
    let statuses: Vec<serde_json::Value> =
        json.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["status"].take()).collect();
    assert_eq!(statuses, ["passed".into(), "failed".into(), "skipped".into(), serde_json::Value::Null]);
    let junit = stdout("junit");
    let document = roxmltree::Document::parse(&junit).unwrap();
    let cases = document.descendants().filter_map(|node| node.attribute("file"));
    assert_eq!(cases.collect::<Vec<_>>(), ["./a.talk", "./b.talk", "./c.talk"]);

    let outcome = run_in(&folder, &server, None, &["--report", "xml", "."]);
    assert_eq!(outcome.code, Some(2));
    assert!(outcome.stderr.contains("write text, tap, junit or json"), "{}", outcome.stderr);
}

/// The second script is given time to notice; the third would connect.
#[test]
fn where_nobody_reads_the_report_no_more_scripts_are_run() {
    let files = [("a.talk", ""), ("b.talk", "sleep 500ms\n"), ("c.talk", "connect\nclose\n")];
    let folder = Folder::new("reader-gone", &files);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = bare_greeter_client(&["--connect", &address, "run", "."]);
    let outcome = run(command.stdout(Stdio::from(writer)).current_dir(&folder.0));
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), ""));
    listener.set_nonblocking(true).unwrap();
    assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
}

/// Another name for it, another owner, attributes: what a copy would lack.
#[cfg(unix)]
mod what_a_file_is {
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    fn blessed() -> String {
        SCRIPT.replace("Rob", "Bob")
    }

    #[test]
    fn a_file_keeps_its_other_names() {
        let folder = Folder::new("bless-names", &[("a.talk", SCRIPT), ("b.talk", "sleep 1000ms\n")]);
        for (file, other) in [("a.talk", "a-too.talk"), ("b.talk", "b-too.talk")] {
            fs::hard_link(folder.0.join(file), folder.0.join(other)).unwrap();
        }
        assert_eq!(run_in(&folder, &server(), None, &["--bless", "a.talk"]).code, Some(0));
        assert_eq!((folder.text("a.talk"), folder.text("a-too.talk")), (blessed(), blessed()));
        folder.run(&["fmt", "b.talk"]).is(0, "", "");
        assert_eq!((folder.text("b.talk"), folder.text("b-too.talk")), ("sleep 1s\n".into(), "sleep 1s\n".into()));
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 4, "no temporary file is left");
    }

    /// Only root can give a file away, and only to root does that happen.
    #[test]
    fn a_file_keeps_its_owner_and_group() {
        let folder = Folder::new("bless-owner", &[("a.talk", SCRIPT), ("b.talk", "sleep 1000ms\n")]);
        let is_given = ["a.talk", "b.talk"].map(|file| chown(folder.0.join(file), Some(12_345), Some(23_456)).is_ok());
        let owner =
            |file: &str| fs::metadata(folder.0.join(file)).map(|file| (file.uid(), file.gid(), file.mode())).unwrap();
        let before = ["a.talk", "b.talk"].map(owner);
        assert_eq!(is_given[0], before[0].0 == 12_345);
        assert_eq!(run_in(&folder, &server(), None, &["--bless", "a.talk"]).code, Some(0));
        folder.run(&["fmt", "b.talk"]).is(0, "", "");
        assert_eq!((folder.text("a.talk"), folder.text("b.talk")), (blessed(), "sleep 1s\n".into()));
        assert_eq!(["a.talk", "b.talk"].map(owner), before);
    }

    /// Where the file system keeps some: not all do.
    #[cfg(target_os = "linux")]
    #[test]
    fn a_file_keeps_its_attributes() {
        use rustix::fs::{XattrFlags, getxattr, setxattr};

        let folder = Folder::new("bless-attributes", &[("a.talk", SCRIPT)]);
        let path = folder.0.join("a.talk");
        let is_kept = setxattr(&path, "user.greeter", b"kept", XattrFlags::CREATE).is_ok();
        assert_eq!(run_in(&folder, &server(), None, &["--bless", "a.talk"]).code, Some(0));
        assert_eq!(folder.text("a.talk"), blessed());
        let mut value = [0; 16];
        let kept = getxattr(&path, "user.greeter", &mut value[..]).map(|length| value[..length].to_vec());
        assert_eq!(kept.is_ok_and(|value| value == b"kept"), is_kept);
    }

    #[test]
    fn a_read_only_file_is_left_alone_and_that_is_told() {
        let folder = Folder::new("bless-read-only", &[("a.talk", SCRIPT), ("b.talk", "sleep 1000ms\n")]);
        for file in ["a.talk", "b.talk"] {
            fs::set_permissions(folder.0.join(file), fs::Permissions::from_mode(0o444)).unwrap();
        }
        let outcome = run_in(&folder, &server(), None, &["--bless", "a.talk"]);
        let told = "error: cannot bless a.talk: it is read-only\nerror: 1 of 1 files left as they are\n";
        assert_eq!((outcome.code, &*outcome.stderr), (Some(2), told));
        folder.run(&["fmt", "b.talk"]).is(
            2,
            "",
            "error: b.talk: cannot write: it is read-only\nerror: 1 of 1 left as they are\n",
        );
        assert_eq!((folder.text("a.talk"), folder.text("b.talk")), (SCRIPT.into(), "sleep 1000ms\n".into()));
    }

    #[test]
    fn a_file_that_is_run_by_several_names_is_blessed_once() {
        let folder = Folder::new("bless-twice", &[("a.talk", SCRIPT), ("c.md", "```talk\n> Ann\n```\n")]);
        symlink("a.talk", folder.0.join("b.talk")).unwrap();
        fs::hard_link(folder.0.join("c.md"), folder.0.join("d.md")).unwrap();
        let paths = ["--bless", "a.talk", "b.talk", "./a.talk", "c.md", "d.md"];
        let outcome = run_in(&folder, &server(), None, &paths);
        let told = "blessed ./a.talk: -1 +1\n  3 - < Hello, Rob\n    + < Hello, Bob\nblessed c.md: -0 +1\n  2 + < Hello, Ann\n";
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), told));
        assert_eq!(folder.text("a.talk"), blessed());
        assert_eq!(folder.text("d.md"), "```talk\n> Ann\n< Hello, Ann\n```\n");
        assert!(fs::symlink_metadata(folder.0.join("b.talk")).unwrap().is_symlink());
    }

    #[test]
    fn a_file_that_is_run_by_several_names_to_which_not_the_same_came_is_left_alone() {
        let folder = Folder::new("bless-differs", &[("a.talk", "> {{name}}\n")]);
        symlink("a.talk", folder.0.join("b.talk")).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = listener.local_addr().unwrap().into();
        std::thread::spawn(move || {
            for (number, stream) in listener.incoming().enumerate() {
                kit::answer(stream.unwrap(), |line| [format!("{number} ").as_bytes(), line].concat());
            }
        });
        let outcome = run_in(&folder, &server, None, &["--bless", "-D", "name=Bob", "a.talk", "b.talk"]);
        let told = "error: cannot bless a.talk: it was also run as b.talk, and not the same came: run it once\n\
                    error: 1 of 1 files left as they are\n";
        assert_eq!((outcome.code, &*outcome.stderr), (Some(2), told));
        assert_eq!(folder.text("a.talk"), "> {{name}}\n");
    }
}

#[test]
fn the_blocks_of_a_page_are_blessed_within_what_they_stand_in() {
    let page = "> ```talk\n> > Bob\n>\n> ```\n\n- > ```talk\n  > # Ann.\n  >  > Ann\n  > < Hi\n  >> Bob\n  > ```\n\n\
                1. ```talk\n   > Bob\n\n   # The end.\n\n   ```\n\n<!--\n```talk\n> nobody\n```\n-->\n";
    let blessed = "> ```talk\n> > Bob\n> < Hello, Bob\n>\n> ```\n\n- > ```talk\n  > # Ann.\n  >  > Ann\n  > < Hello, Ann\n  \
                   >> Bob\n  >< Hello, Bob\n  > ```\n\n\
                   1. ```talk\n   > Bob\n   < Hello, Bob\n\n   # The end.\n\n   ```\n\n<!--\n```talk\n> nobody\n```\n-->\n";
    for ending in ["\n", "\r\n"] {
        let (folder, server) = (Folder::new("bless-page", &[("a.MD", &page.replace('\n', ending))]), server());
        let outcome = run_in(&folder, &server, None, &["--bless", "a.MD"]);
        let told = "blessed a.MD: -1 +4\n   2 + < Hello, Bob\n   9 - < Hi\n     + < Hello, Ann\n  10 + < Hello, Bob\n  \
                    14 + < Hello, Bob\n";
        assert_eq!((outcome.code, &*outcome.stderr), (Some(0), told));
        assert_eq!(folder.text("a.MD"), blessed.replace('\n', ending));
    }
}
