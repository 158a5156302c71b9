//! Secrets, looked for in everything that is shown or written: no output has one, in whatever form.
//!
//! Each case is tried without its secrets, too, and must show them then: else it would prove
//! nothing.
#![cfg(unix)]

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixListener;
use std::process::Command;
use std::thread;

use greeter_client::ServerAddress;

use crate::kit::{Folder, Outcome, bare_greeter_client, run, run_with};

/// What no format shows as it is, and between that letters which all of them leave alone.
const PASSWORD: &[u8] = b"Zq7\"\\Xw9\xc3\xa9'\x1b<Kv4\xff&Jp8]";

/// What may stand in an address and at a shell.
const HOST: &str = "Vx3kW8nYb5t";

/// What the server makes up.
const TOKEN: &str = "Tj6rHc2dLm1f";

/// What a prompt writes otherwise.
const BRACES: &str = "Bq5{{Rz2}}Ny8";

/// [`PASSWORD`] in the raw form.
const QUOTED: &str = r#"Zq7\"\\Xw9é'\e<Kv4\xff&Jp8]"#;

/// Too short to be a secret.
const PIN: &str = "~@~";

/// What no output may have: parts of the values, which no escape hides, and what encodes them.
fn fragments() -> Vec<Vec<u8>> {
    let parts = ["Zq7", "Xw9", "Kv4", "Jp8", "Vx3", "W8n", "b5t", "Tj6", "c2d", "m1f", "Bq5", "Rz2", "Ny8", PIN];
    let mut fragments: Vec<Vec<u8>> = parts.map(|part| part.as_bytes().to_vec()).to_vec();
    fragments.push(format!("{:x}", md5::compute([b"x", PASSWORD].concat())).into_bytes());
    for value in [PASSWORD, HOST.as_bytes(), TOKEN.as_bytes(), BRACES.as_bytes()] {
        let lower: String = value.iter().map(|byte| format!("{byte:02x}")).collect();
        fragments.extend([lower.to_uppercase().into_bytes(), lower.into_bytes()]);
        for (before, digits) in [("", 0), ("-", 2), ("--", 3)] {
            let text = [before.as_bytes(), value].concat();
            // Of three bytes that are not whole, some bits are another's.
            fragments.push(base64(&text[..text.len() / 3 * 3])[digits..].to_vec());
        }
    }
    fragments
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    let digits = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |group: &[u8]| {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        [18, 12, 6, 0].map(|shift| digits[(bits >> shift & 63) as usize])
    };
    bytes.chunks(3).flat_map(group).collect()
}

fn shown(output: &[u8]) -> Option<String> {
    let has = |part: &[u8]| output.windows(part.len()).any(|window| window == part);
    fragments().into_iter().find(|part| has(part)).map(|part| part.escape_ascii().to_string())
}

/// Says what it is told to say: `say X` is answered with X, `raw X` with X and no newline, and so
/// on.
fn server() -> ServerAddress {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().into();
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || talk(stream.unwrap()));
        }
    });
    address
}

fn talk(mut stream: TcpStream) {
    let hex: String = PASSWORD.iter().map(|byte| format!("{byte:02X}")).collect();
    let mut input = BufReader::new(stream.try_clone().unwrap());
    let mut line = Vec::new();
    while input.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let (verb, rest) = text.split_at(text.iter().position(|&byte| byte == b' ').unwrap_or(text.len()));
        let rest = rest.strip_prefix(b" ").unwrap_or_default();
        let reply = match verb {
            b"say" => [rest, b"\n"].concat(),
            b"raw" => rest.to_vec(),
            b"twice" => [rest, b"\n", rest, b"\n"].concat(),
            b"hex" => format!("{hex}\n").into_bytes(),
            b"base64" => [&base64(PASSWORD)[..], b" ", &base64(&[b"-", PASSWORD].concat()), b"\n"].concat(),
            b"token" => format!("token {TOKEN}\n").into_bytes(),
            b"pin" => format!("{PIN}\n").into_bytes(),
            b"bye" => {
                let _ = stream.write_all(&[rest, b"\n"].concat());
                break;
            }
            b"close" => break,
            _ => Vec::new(),
        };
        if stream.write_all(&reply).is_err() {
            break;
        }
        line.clear();
    }
    let _ = stream.shutdown(std::net::Shutdown::Write);
}

/// The command in an environment that has the values.
fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = bare_greeter_client(arguments);
    command
        .env("TALK_password", OsStr::from_bytes(PASSWORD))
        .env("TALK_host", HOST)
        .env("TALK_braces", BRACES)
        .env_remove("CI");
    command.current_dir(&folder.0);
    command
}

fn all(outcome: &Outcome) -> Vec<u8> {
    [&outcome.stdout[..], outcome.stderr.as_bytes()].concat()
}

/// The scripts, by what they are about. Each fails. Where `literally` stands, the password itself
/// does; where `quoted` does, in the raw form.
const SCRIPTS: &[(&str, &str)] = &[
    ("what_came", "> say {{password}}\n< other\n"),
    ("what_was_sent", "> ignore {{password}}\nwithin 20ms\n< x\n"),
    ("what_was_expected", "> say x\n< {{password}}\n"),
    ("what_is_behind_it", "> twice <{{password}}>\n< x\n"),
    ("what_came_before", "> say {{password}}\n< {{password}}\n> say x\n< y\n"),
    ("bytes", "> raw {{password}}\n<\"0123456\"\n"),
    ("prompt", "> say {{password}}\n<prompt \"{{password}}{{:x}}$ \"\n"),
    ("prompt_with_braces", "> say x\n<prompt \"{{braces}}$ \"\n"),
    ("unfinished", "> raw {{password}}\n> close\n< x\n"),
    ("skipped", "> say {{password}}\n> close\n<*\n< x\n"),
    ("end", "> say {{password}}\n<eof\n"),
    ("reset", "> say {{password}}\n<reset\n"),
    ("nothing", "> say {{password}}\n<nothing 500ms\n"),
    ("the_closing_checks", "> say {{password}}\n"),
    ("crowd", "connect c x2\nc> say {{password}}{{#}}\nc< {{password}}1\n"),
    ("title", "# It is literally.\n> say x\n< y\n"),
    ("step", "> say x\n< literally\n"),
    ("raw_step", "> say x\nwithin 20ms\n<\"quoted\"\n"),
    ("what_is_sent_as_a_step", "> literally\n> {{nothing}}\n"),
    ("a_step_that_fails_otherwise", "> literally {{nothing}}\n"),
    ("count", "> say x\n< x\n<bytes {{password}}\n"),
    ("no_port", "connect to {{password}}\n"),
    ("no_such_place", "connect to unix:/nowhere/{{host}}\n"),
    ("no_such_host", "connect to {{host}}.invalid:80\n"),
    ("the_servers_address", "connect bob to unix:{{host}}\nbob> x\nwithin 20ms\nbob< x\n"),
    ("hex", "> hex\n< x\n"),
    ("base64", "> base64\n< x\n"),
    ("set", "set both = bob:{{password}}\n> say {{both}}\n< {{both}}!\n"),
    ("captured", "> token\n< token {{token}}\n> say {{token}}\n< x\n"),
    ("captured_with_more", "> token\n< token {{token}}\n> token\n< {{all}}\n> say {{all}}\n< {{all}}!\n"),
    ("computed", "let digest = md5(x{{password}})\n> say {{digest}}\n< x\n"),
    ("computed_from_more", "set more = x{{password}}\nlet digest = md5({{more}})\n> say {{digest}}\n< x\n"),
    ("no_number", "let number = {{password}}+1\n"),
    ("excluded", "> say {{password}}\n<! {{password}}\n<*\n< x\n"),
    ("optional", "> twice {{password}}\n<? {{password}}\n< x\n"),
    ("any_order", "> twice {{password}}\n<& {{password}}\n<& x\n"),
    ("counted", "> raw {{password}}\n<bytes 9 {{password}}\n"),
    ("counted_and_captured", "> token\n<bytes 18 {{token}}\n> say {{token}}\n< x\n"),
    ("short", "> pin\n< {{pin}}\n> say {{pin}}\n< x\n"),
];

/// Where what is shown ends within the password.
fn cut_scripts() -> Vec<(String, String)> {
    let filler = |bytes: usize| "x".repeat(bytes);
    // Masked, so much of it is short enough to be shown to where it was cut.
    let kib = |bytes: usize| {
        let times = bytes / PASSWORD.len();
        "{{password}}".repeat(times) + &filler(bytes - times * PASSWORD.len())
    };
    let mut scripts = Vec::new();
    for inside in [3, 9, 13, 20] {
        scripts.extend([
            (format!("a_line_of_200_bytes_{inside}"), format!("> say {}{{{{password}}}}\n< x\n", filler(200 - inside))),
            (
                format!("lines_of_200_bytes_in_any_order_{inside}"),
                format!(
                    "> twice {0}{{{{password}}}}\n<& {0}{{{{password}}}}\n<& {0}{{{{password}}}}!\n",
                    filler(200 - inside)
                ),
            ),
            (
                format!("an_excluded_line_of_200_bytes_{inside}"),
                format!("> say {0}{{{{password}}}}\n<! {0}{{{{password}}}}\n<*\n< y\n", filler(200 - inside)),
            ),
            (
                format!("a_sum_of_40_bytes_{inside}"),
                format!("set long = {}{{{{password}}}}\nlet sum = {{{{long}}}}\n", filler(40 - inside)),
            ),
            (
                format!("an_expectation_of_200_bytes_{inside}"),
                format!("> say x\n< {}{{{{password}}}}\n", filler(200 - inside)),
            ),
            (
                format!("unfinished_200_bytes_{inside}"),
                format!("> raw {}{{{{password}}}}\n> close\n< x\n", filler(200 - inside)),
            ),
            (
                format!("a_raw_expectation_of_200_bytes_{inside}"),
                format!("> say x\nwithin 20ms\n<\"{}quoted\"\n", filler(200 - inside)),
            ),
            (
                format!("a_prompt_of_200_bytes_{inside}"),
                format!("> say x\n<prompt \"{}quoted$ \"\n", filler(200 - inside)),
            ),
            (
                format!("what_was_sent_before_something_else_{inside}"),
                format!("> ignore {}{{{{password}}}}\n<bytes {{{{nothing}}}}\n", filler(200 - 7 - inside)),
            ),
            (
                format!("a_kib_of_what_was_sent_{inside}"),
                format!("> ignore {}{{{{password}}}}\nwithin 20ms\n< x\n", kib(1024 - 7 - inside)),
            ),
            (
                format!("a_kib_of_what_is_behind_it_{inside}"),
                // The first of the two lines is what came.
                format!("> twice {}{{{{password}}}}\n< y\n", kib(1024 - inside)),
            ),
            (format!("bytes_{inside}"), format!("> raw {{{{password}}}}\n<\"{}\"\n", filler(inside))),
            (
                format!("a_number_of_40_bytes_{inside}"),
                format!("set long = {}{{{{password}}}}\n<bytes {{{{long}}}}\n", filler(40 - inside)),
            ),
        ]);
    }
    scripts
}

fn scripts() -> Vec<(String, Vec<u8>)> {
    let written = |text: &str| {
        let text = text.replace("quoted", QUOTED);
        let mut bytes = Vec::new();
        for (number, part) in text.split("literally").enumerate() {
            bytes.extend_from_slice(if number > 0 { PASSWORD } else { b"" });
            bytes.extend_from_slice(part.as_bytes());
        }
        bytes
    };
    let fixed = SCRIPTS.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned()));
    fixed.chain(cut_scripts()).map(|(name, text)| (name, written(&text))).collect()
}

fn with_secrets(text: &[u8]) -> Vec<u8> {
    [b"secret password\nsecret host\nsecret token\nsecret pin\nsecret braces\n", text].concat()
}

fn run_all(folder: &Folder, arguments: &[&str]) -> Outcome {
    let address = server();
    let connect = ["--connect", &address.to_string(), "--timeout", "2s", "run", "--jobs=8", "."];
    run(&mut command(folder, &[&connect, arguments].concat()))
}

#[test]
fn no_report_of_a_failure_has_a_secret() {
    let scripts = scripts();
    let (bare, hidden) = (Folder::new("secrets-bare", &[]), Folder::new("secrets-hidden", &[]));
    for (name, text) in &scripts {
        fs::write(bare.0.join(format!("{name}.talk")), text).unwrap();
        fs::write(hidden.0.join(format!("{name}.talk")), with_secrets(text)).unwrap();
    }
    // At an address that is a secret, somebody listens.
    let _listeners = [&bare, &hidden].map(|folder| UnixListener::bind(folder.0.join(HOST)).unwrap());
    // What each of them would show.
    let outcome = run_all(&bare, &[]);
    assert_eq!(outcome.stderr, format!("error: {0} of {0} scripts failed\n", scripts.len()));
    let report = String::from_utf8(outcome.stdout).unwrap();
    for (name, _) in &scripts {
        let found = report.split("FAIL ").find(|part| part.starts_with(&format!("./{name}.talk")));
        let found = found.unwrap_or_else(|| panic!("{name} passes"));
        assert!(shown(found.as_bytes()).is_some(), "{name} shows nothing: {found}");
    }
    for format in ["text", "tap", "junit", "json"] {
        let outcome = run_all(&hidden, &["--report", format]);
        let report = String::from_utf8(all(&outcome)).unwrap();
        assert_eq!(outcome.code, Some(1));
        assert_eq!(shown(report.as_bytes()), None, "{format}: {report}");
        assert!(report.contains(&format!("{} scripts failed", scripts.len())), "{report}");
        assert!(report.matches("***").count() >= scripts.len(), "{report}");
        // Each try is told.
        let outcome = run_all(&hidden, &["--report", format, "--retries=1", "--filter=what_"]);
        assert_eq!((outcome.code, shown(&all(&outcome))), (Some(1), None));
    }
}

/// How much of a value was right, and how long it is, it would tell. Nor is it advised to write a
/// mask.
#[test]
fn beside_a_mask_there_is_no_caret_and_no_hint() {
    let files = [
        ("a.talk", "secret password\n> say x {{password}}\n< x {{password}}!\n"),
        ("b.talk", "> say x\n< y\n"),
        ("c.talk", "secret password\n> raw x {{password}}\n> close\n< x {{password}}\n"),
        ("d.talk", "> raw x\n> close\n< x\n"),
    ];
    let folder = Folder::new("secrets-caret", &files);
    let report = String::from_utf8(run_all(&folder, &[]).stdout).unwrap();
    let lines: Vec<&str> = report.lines().collect();
    let came: Vec<&str> = lines.windows(2).filter(|pair| pair[1].trim() == "^").map(|pair| pair[0]).collect();
    assert_eq!(came, ["    + < x"], "{report}");
    let hints: Vec<&str> = report.lines().filter(|line| line.starts_with("  hint: ")).collect();
    assert_eq!(hints, ["  hint: to expect this without the end of a line, write <\"x\""], "{report}");
}

/// What a run comes to whose server is `server.sh`, and what is on stderr then, which need not be
/// text. The script speaks with another server, whose address this one tells.
fn with_server(folder: &Folder, arguments: &[&str]) -> (Outcome, Vec<u8>) {
    let command_line = format!("sh server.sh {}", server());
    let path = folder.0.join("stderr");
    let mut command = command(folder, &[&["run", "--server", &command_line], arguments].concat());
    let outcome = run(command.stderr(fs::File::create(&path).unwrap()));
    (outcome, fs::read(path).unwrap())
}

#[track_caller]
fn has(output: &[u8], part: &str) -> bool {
    output.windows(part.len()).any(|window| window == part.as_bytes())
}

#[test]
fn what_a_server_prints_has_no_secret_and_what_it_inherits_neither() {
    let octal: String = PASSWORD.iter().map(|byte| format!("\\{byte:03o}")).collect();
    let prints = format!("env | grep -a TALK_ >&2\nprintf 'it is {octal}, and {octal}\\n' >&2\nexit 7\n");
    let script = "> say x\n< x\n";
    let hidden = format!("secret password\n{script}");
    let folder = Folder::new("secrets-server", &[("server.sh", &prints), ("a.talk", script), ("b.talk", &hidden)]);
    let (outcome, stderr) = with_server(&folder, &["a.talk"]);
    assert!(shown(&outcome.stdout).is_some() && has(&stderr, "TALK_password"), "{outcome:?}");
    let others = ["--secret=host", "--secret=braces"];
    for arguments in [&["b.talk"][..], &["a.talk", "--secret=password"]] {
        for format in ["text", "tap", "junit", "json"] {
            let (outcome, stderr) = with_server(&folder, &[arguments, &others, &["--report", format]].concat());
            assert_eq!((shown(&outcome.stdout), shown(&stderr)), (None, None), "{outcome:?}");
            assert!(has(&stderr, "it is ***, and ***\n") && has(&outcome.stdout, "stderr: it is ***, and ***"));
            assert!(!has(&stderr, "TALK_"), "{}", stderr.escape_ascii());
        }
    }
    // What it tells as its address is in no error.
    fs::write(folder.0.join("server.sh"), format!("echo listening on {HOST}\n")).unwrap();
    let (outcome, _) = with_server(&folder, &["a.talk", "--secret=host"]);
    assert!(has(&outcome.stdout, "'***' names no port") && shown(&outcome.stdout).is_none(), "{outcome:?}");
    fs::write(folder.0.join("server.sh"), prints).unwrap();
    // The others are inherited.
    let (_, stderr) = with_server(&folder, &["b.talk"]);
    assert!(
        !has(&stderr, "TALK_password") && has(&stderr, &format!("TALK_host={HOST}\n")),
        "{}",
        stderr.escape_ascii()
    );
}

/// It was none when the server was started.
#[test]
fn what_a_script_captures_is_masked_in_what_its_server_prints() {
    let filler = "x".repeat(195);
    let server = format!(
        "echo {filler}{TOKEN} >&2\ntrap 'echo \"it was {TOKEN}\" >&2; exit 3' USR1\necho listening on $1\n\
         while :; do sleep 0.01; done\n"
    );
    let script = "> token\n< token {{token}}\nsignal USR1\nexits 0\n";
    let hidden = format!("secret token\n{script}");
    let folder = Folder::new("secrets-captured", &[("server.sh", &server), ("a.talk", script), ("b.talk", &hidden)]);
    let (outcome, stderr) = with_server(&folder, &["a.talk"]);
    assert!(shown(&outcome.stdout).is_some() && shown(&stderr).is_some(), "{outcome:?}");
    let (outcome, stderr) = with_server(&folder, &["b.talk"]);
    // What it has said before that, has passed.
    assert_eq!(shown(&stderr[filler.len() + TOKEN.len() + 1..]), None, "{}", stderr.escape_ascii());
    assert_eq!(shown(&outcome.stdout), None, "{outcome:?}");
    assert!(has(&outcome.stdout, &format!("stderr: {filler}***\n")), "{outcome:?}");
    assert!(has(&outcome.stdout, "stderr: it was ***\n"), "{outcome:?}");
}

#[test]
fn blessing_tells_and_writes_no_secret() {
    let script = format!("secret host\n> say <{{{{host}}}}>\n< {HOST} and {{{{*}}}}\n> say x\n< {QUOTED}\n");
    let folder = Folder::new("secrets-bless", &[("a.talk", &script), ("b.talk", &script.replace("secret host\n", ""))]);
    let address = server().to_string();
    let bless = |arguments: &[&str]| {
        run(&mut command(&folder, &[&["--connect", &address, "--timeout=500ms", "run", "--bless"], arguments].concat()))
    };
    let outcome = bless(&["a.talk", "--secret=password"]);
    let diff = "blessed a.talk: -2 +2\n  3 - < *** and {{*}}\n    + < <{{host}}>\n  5 - < ***\n    + < x\n";
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), diff), "{outcome:?}");
    assert_eq!(folder.text("a.talk"), "secret host\n> say <{{host}}>\n< <{{host}}>\n> say x\n< x\n");
    assert!(shown(bless(&["b.talk"]).stderr.as_bytes()).is_some());

    // What has no name in the plain form is not blessed.
    for (name, text) in
        [("hex", "> hex\n< x\n"), ("raw", "> raw {{password}}\n> close\n<eof\n"), ("esc", "> say {{password}}\n")]
    {
        let name = format!("{name}.talk");
        fs::write(folder.0.join(&name), text).unwrap();
        let outcome = bless(&[&name, "--secret=password"]);
        assert_eq!((outcome.code, &*folder.text(&name)), (Some(1), text), "{outcome:?}");
        assert!(has(&outcome.stdout, "what came holds a secret"), "{outcome:?}");
        assert_eq!(shown(&all(&outcome)), None, "{outcome:?}");
    }
}

#[test]
fn no_report_of_a_load_has_a_secret() {
    let say = ["--line", "say {{password}}", "--expect", "x{{password}}"];
    let cases: [&[&str]; 10] = [
        &["--line", "say {{password}}", "--reply-lines", "2"],
        &["--line", "say {{password}}", "--reply-until", "{{:END}}"],
        &["--line", "say {{password}}", "--expect", "{{*}}", "--expect", "x{{password}}"],
        &say,
        &["--line", "twice {{password}}"],
        &["--line", "close {{password}}"],
        &["--line", "bye {{password}}", "--pipeline", "2"],
        &["--lines", "lines.txt", "--expect", "y"],
        &["--line", "hex", "--expect", "{{:x}}"],
        &["--script", "a.talk"],
    ];
    let script = "> say {{password}}\n< {{password}}!\n";
    let folder = Folder::new("secrets-load", &[("a.talk", script)]);
    fs::write(folder.0.join("lines.txt"), [b"say ", PASSWORD, b"\n"].concat()).unwrap();
    let address = server().to_string();
    let load = |case: &[&str], secret: &[&str]| {
        let short =
            ["--connect", &address, "--timeout=500ms", "load", "--connections=1", "--warmup=0s", "--duration=50ms"];
        let files = ["--json=report.json", "--html=report.html"];
        let outcome = run(&mut command(&folder, &[&short[..], &files, case, secret].concat()));
        assert_eq!(outcome.code, Some(1), "{outcome:?}");
        [all(&outcome), folder.text("report.json").into_bytes(), folder.text("report.html").into_bytes()]
    };
    for case in cases {
        for output in load(case, &[]) {
            assert!(shown(&output).is_some(), "{case:?}: {}", String::from_utf8_lossy(&output));
        }
        for output in load(case, &["--secret=password"]) {
            let text = String::from_utf8_lossy(&output);
            assert!(shown(&output).is_none() && text.contains("***"), "{case:?}: {:?} in {text}", shown(&output));
        }
    }
    fs::write(folder.0.join("a.talk"), format!("secret password\n{script}")).unwrap();
    for output in load(cases[9], &[]) {
        assert_eq!(shown(&output), None, "{}", String::from_utf8_lossy(&output));
    }
    // What a connection has heard before the load is a secret then, too.
    fs::write(folder.0.join("before.talk"), "secret heard\n> say {{password}}\n< {{heard}}\n").unwrap();
    for output in load(&["--before", "before.talk", "--line", "twice {{heard}}"], &[]) {
        let text = String::from_utf8_lossy(&output);
        assert!(shown(&output).is_none() && text.contains("***"), "{:?} in {text}", shown(&output));
    }
    fs::write(folder.0.join("before.talk"), "secret password\n> say {{password}}\n< {{password}}!\n").unwrap();
    let before = ["--connect", &address, "load", "--before", "before.talk", "--line", "x"];
    let outcome = run(&mut command(&folder, &before));
    assert!(outcome.stderr.contains("    - < ***"), "{outcome:?}");
    assert_eq!(shown(&all(&outcome)), None, "{outcome:?}");
}

/// Where the whole command line would have to be shown.
#[test]
fn advice_to_bless_has_no_secret() {
    let folder = Folder::new("secrets-advice", &[("a.talk", "> say {{host}}\n< x\n")]);
    let address = server().to_string();
    let advice = |arguments: &[&str]| {
        let outcome = run(&mut command(&folder, &[&["--connect", &address, "run", "a.talk"], arguments].concat()));
        let report = String::from_utf8(outcome.stdout).unwrap();
        report.lines().find_map(|line| line.strip_prefix("  accept it with: ")).map(str::to_owned)
    };
    let command_line = format!("greeter-client --connect {address} run --bless --secret host a.talk");
    assert_eq!(advice(&["--secret=host"]), Some(command_line));
    assert_eq!(advice(&["--secret=host", "-D", &format!("host={HOST}")]), None);
}

#[track_caller]
fn refused(arguments: &[&str], script: &str, message: &str) {
    let folder = Folder::new("secrets-refused", &[("a.talk", script)]);
    for command_words in [&["run", "a.talk"][..], &["load", "--script", "a.talk"]] {
        let mut command = command(&folder, &[command_words, arguments].concat());
        let outcome = run(command.env("TALK_pin", PIN).env("TALK_empty", ""));
        outcome.is(2, "", &format!("error: {message}\nfor more: greeter-client --help\n"));
    }
}

#[test]
fn what_cannot_be_kept_is_refused() {
    refused(&["--secret=password=Zq7"], "> x\n", "--secret takes a name; its value is that of TALK_NAME");
    let no_name = "--secret: a name is made of letters, digits, _ and -, and starts with a letter or _";
    refused(&["--secret", "Zq7\""], "> x\n", no_name);
    refused(&["--secret=pasword"], "> x\n", "--secret pasword: TALK_pasword is not set");
    for (name, script) in [("pin", "secret pin\n"), ("empty", "secret empty\n"), ("pin", "> x\n"), ("empty", "> x\n")] {
        let secret = format!("--secret={name}");
        let arguments = if script == "> x\n" { &[&*secret][..] } else { &[] };
        let why = "has less than 4 bytes, and would mask too much of what is reported";
        refused(arguments, script, &format!("the secret {name} {why}"));
    }
}

#[test]
fn a_secret_on_the_command_line_is_warned_of() {
    let folder = Folder::new("secrets-warned", &[("a.talk", "secret word\n> say {{word}}\n< {{word}}\n")]);
    let arguments = ["--connect", &server().to_string(), "run", "a.talk", "-D", "word=hunter2", "-D", "other=hunter2"];
    let outcome = run(&mut command(&folder, &arguments));
    let warning = "warning: -D word=… shows a secret to whoever sees this process: set TALK_word\n";
    assert_eq!((outcome.code, &*outcome.stderr), (Some(0), warning));
}

#[test]
fn a_recording_has_names_and_plays_back() {
    let folder = Folder::new("secrets-record", &[]);
    let address = server().to_string();
    let input = [b"say <Vx3kW8nYb5t>\nsay ", PASSWORD, b"\nhex\n"].concat();
    let arguments = ["--connect", &address, "record", "--secret=host", "--secret=password", "new.talk"];
    let outcome = run_with(&mut command(&folder, &arguments), input);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
    let text = folder.text("new.talk");
    assert_eq!(shown(text.as_bytes()), None, "{text}");
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    let masked =
        "# In place of *** stood a secret, which the raw form cannot name: this line is to be written by hand.";
    let expected = [
        masked,
        masked,
        masked,
        "< <{{host}}>",
        "<\"***\\n\"",
        "<\"***\\n\"",
        "<eof",
        "> hex",
        "> say <{{host}}>",
        ">\"say ***\\n\"",
        ">eof",
        "secret host",
    ];
    assert_eq!(lines, expected, "{text}");

    let input = b"say <Vx3kW8nYb5t>\n".to_vec();
    let arguments = ["--connect", &address, "record", "--secret=host", "plain.talk"];
    assert_eq!(run_with(&mut command(&folder, &arguments), input).code, Some(0));
    let outcome = run(&mut command(&folder, &["--connect", &address, "run", "plain.talk"]));
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}
