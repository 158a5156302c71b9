//! The commands, over TLS.

use std::fs;
use std::io::{Read, Write};
use std::sync::{Arc, mpsc};

use greeter_client::ServerAddress;
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::kit::{
    Authority, Folder, PATIENCE, bare_greeter_client, greet_over_tls, greeter_client, run, run_with, serve_tls,
    server_config,
};

/// A folder with `ca.pem`, and a server that it vouches for.
fn world(name: &str, files: &[(&str, &str)]) -> (Folder, Authority, Arc<ServerConfig>) {
    let (authority, folder) = (Authority::new("ours"), Folder::new(name, files));
    authority.write(&folder);
    let config = server_config(&authority.issue(&["localhost"]), None, ALL_VERSIONS);
    (folder, authority, config)
}

fn greeter(config: &Arc<ServerConfig>) -> ServerAddress {
    greet_over_tls(config, 0, |_| ())
}

#[test]
fn they_speak_tls_where_the_address_says_so() {
    let (folder, _, config) = world("commands", &[("a.talk", "require tls\n> Bob\n< Hello, Bob\n")]);
    let address = greeter(&config).to_string();
    let ca = folder.0.join("ca.pem").display().to_string();
    let command = |arguments: &[&str]| {
        let mut command = bare_greeter_client(&["--connect", &address, "--tls-ca", &ca]);
        command.args(arguments).current_dir(&folder.0);
        command
    };
    run(&mut command(&["greet", "Ann", "Ben"])).is(0, "Hello, Ann\nHello, Ben\n", "");
    run_with(&mut command(&[]), "Ann\n").is(0, "Hello, Ann\n", "");
    run_with(&mut command(&["record", "recorded.talk"]), "Ann\n").is(0, "Hello, Ann\n", "");
    let recorded = folder.text("recorded.talk");
    assert!(recorded.starts_with("> Ann\n") && recorded.ends_with("<eof\n"), "{recorded}");
    let ran = run(&mut command(&["run", "a.talk", "recorded.talk"]));
    assert_eq!((ran.code, &*ran.stderr), (Some(0), ""), "{ran:?}");
    let load = ["load", "--connections=3", "--warmup=0s", "--duration=100ms", "--line=Bob", "--expect=Hello, Bob"];
    let loaded = run(&mut command(&load));
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
}

#[test]
fn scripts_say_tls_themselves() {
    let (folder, _, config) = world("scripts", &[]);
    let secure = greeter(&config).to_string();
    let plain = secure.replace("tls:", "");
    let script = format!(
        "connect bob to {plain} tls\nconnect c x3 to {secure}\nbob> Bob\nc> guest {{{{#}}}}\nbob< Hello, Bob\n\
         c< Hello, guest {{{{#}}}}\nc>eof\nc<eof\n"
    );
    fs::write(folder.0.join("a.talk"), script).unwrap();
    let outcome = folder.run(&["--tls-ca=ca.pem", "run", "a.talk"]);
    assert_eq!(outcome.code, Some(0), "{outcome:?}");
}

#[test]
fn a_certificate_that_is_not_good_is_an_error_in_words() {
    let (folder, _, config) = world("words", &[("a.talk", "> Bob\n")]);
    Authority::new("another").write(&folder);
    let address = greeter(&config).to_string();
    let with = ["--connect", &address, "--tls-ca=ca.pem"];
    let words = "the server's certificate was issued by nobody whom we trust";
    folder.run(&[&with[..], &["greet", "Bob"]].concat()).is(
        3,
        "",
        &format!("error: cannot speak TLS with {address}: {words}: name who has issued it with --tls-ca\n"),
    );
    let outcome = folder.run(&[&with[..], &["run", "a.talk"]].concat());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(String::from_utf8_lossy(&outcome.stdout).contains(words), "{outcome:?}");
    let outcome = folder.run(&[&with[..], &["load", "--line=Bob"]].concat());
    assert_eq!(outcome.code, Some(3), "{outcome:?}");
    assert!(outcome.stderr.contains(words), "{outcome:?}");
}

#[test]
fn any_certificate_will_do_if_that_is_asked_for_and_it_is_told_loudly() {
    let (folder, ..) = world("insecure", &[]);
    let elsewhere = server_config(&Authority::new("somebody").issue(&["elsewhere"]), None, ALL_VERSIONS);
    let address = greeter(&elsewhere).to_string();
    folder.run(&["--connect", &address, "--tls-insecure", "greet", "Bob"]).is(
        0,
        "Hello, Bob\n",
        "warning: --tls-insecure takes any certificate: whoever is in between can read and change everything\n",
    );
}

#[test]
fn a_name_of_its_own_and_a_certificate_of_ours() {
    let (folder, authority, _) = world("mutual", &[]);
    let config = server_config(&authority.issue(&["greeter"]), Some(&authority), ALL_VERSIONS);
    authority.issue(&["bob"]).write(&folder);
    let address = greeter(&config).to_string();
    let with = ["--connect", &address, "--tls-ca=ca.pem", "--tls-name=greeter"];
    let known = [&with[..], &["--tls-cert=cert.pem", "--tls-key=key.pem", "greet", "Bob"]].concat();
    folder.run(&known).is(0, "Hello, Bob\n", "");
    fs::write(folder.0.join("a.talk"), "> Bob\n< Hello, Bob\n").unwrap();
    let unknown = folder.run(&[&with[..], &["greet", "Bob"]].concat());
    assert_eq!(unknown.code, Some(3), "{unknown:?}");
    assert!(unknown.stderr.contains("it demands a certificate of ours"), "{unknown:?}");
    let unknown = folder.run(&[&with[..], &["run", "a.talk"]].concat());
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    let report = String::from_utf8_lossy(&unknown.stdout).into_owned();
    assert!(report.contains("(the server ended TLS: it demands a certificate of ours)"), "{report}");
}

/// What is said where the system has none.
#[cfg(target_os = "linux")]
const NO_ROOTS: &str = "this system has no authorities' certificates where we look for them, so that nobody is trusted";

/// Elsewhere the system has a store of its own.
#[cfg(target_os = "linux")]
#[test]
fn without_an_authority_of_ours_the_systems_are_trusted() {
    let (folder, _, config) = world("system", &[]);
    let address = greeter(&config).to_string();
    let mut command = bare_greeter_client(&["--connect", &address, "greet", "Bob"]);
    run(command.env("SSL_CERT_FILE", folder.0.join("ca.pem")).env_remove("SSL_CERT_DIR")).is(0, "Hello, Bob\n", "");
    let mut command = bare_greeter_client(&["--connect", &address, "greet", "Bob"]);
    let none = folder.0.join("missing.pem");
    run(command.env("SSL_CERT_FILE", none).env_remove("SSL_CERT_DIR")).is(
        3,
        "",
        &format!("error: cannot speak TLS with {address}: {NO_ROOTS}: name some with --tls-ca\n"),
    );
}

#[test]
fn what_cannot_be_used_is_a_usage_error() {
    let (folder, ..) = world("usage", &[]);
    let outcome = folder.run(&["--tls-ca=missing.pem", "greet", "Bob"]);
    assert_eq!(outcome.code, Some(2), "{outcome:?}");
    assert!(outcome.stderr.starts_with("error: cannot read missing.pem: "), "{outcome:?}");
    folder.run(&["--tls-cert=ca.pem", "--tls-ca=ca.pem", "greet", "Bob"]).is(
        2,
        "",
        "error: --tls-cert and --tls-key belong together\nfor more: greeter-client --help\n",
    );
}

#[test]
fn options_of_tls_that_would_do_nothing_are_refused() {
    let (folder, ..) = world("nothing", &[("a.talk", "> Bob\n")]);
    for arguments in [
        &["--tls-ca=ca.pem", "greet", "Bob"][..],
        &["--tls-ca=ca.pem", "pipe"],
        &["--tls-ca=ca.pem", "chat"],
        &["--tls-ca=ca.pem", "record", "b.talk"],
        &["--tls-ca=ca.pem", "load", "--line=Bob"],
    ] {
        let arguments = [&["--connect=127.0.0.1:1"][..], arguments].concat();
        let words = "error: --tls-ca is for TLS, and there is none at 127.0.0.1:1: write tls:127.0.0.1:1\n";
        folder.run(&arguments).is(2, "", &format!("{words}for more: greeter-client --help\n"));
    }
    // A script may say itself where TLS is.
    let ran = folder.run(&["--connect=127.0.0.1:1", "--tls-ca=ca.pem", "run", "a.talk"]);
    assert_eq!(ran.code, Some(3), "{ran:?}");
    let words = "error: --tls-ca says whom to trust, and --tls-insecure asks for no trust: give one of them\n";
    folder.run(&["--tls-ca=ca.pem", "--tls-insecure", "--connect=tls:127.0.0.1:1", "greet", "Bob"]).is(
        2,
        "",
        &format!("{words}for more: greeter-client --help\n"),
    );
}

#[cfg(unix)]
#[test]
fn a_unix_socket_asks_for_a_name() {
    let (folder, ..) = world("nameless", &[]);
    let _listener = std::os::unix::net::UnixListener::bind(folder.0.join("socket")).unwrap();
    folder.run(&["--connect=tls:unix:socket", "--tls-ca=ca.pem", "greet", "Bob"]).is(
        3,
        "",
        "error: cannot speak TLS with tls:unix:socket: a Unix socket has no name that the server's certificate could be \
         for: give one with --tls-name\n",
    );
}

#[test]
fn an_end_without_a_word_is_told() {
    let (folder, _, config) = world("truncated", &[]);
    let server = serve_tls(&config, |mut stream| {
        stream.read_to_end(&mut Vec::new()).unwrap();
        stream.write_all(b"Hello, Bob\n").unwrap();
    });
    let ca = folder.0.join("ca.pem").display().to_string();
    let note =
        "note: the server closed the connection without a word in TLS (close_notify): something may be missing\n";
    run_with(&mut greeter_client(&server.address, &["--tls-ca", &ca]), "Bob\n").is(0, "Hello, Bob\n", note);
}

#[test]
fn a_proxy_header_comes_before_tls() {
    let (folder, _, config) = world("proxy", &[]);
    let (headers, told) = mpsc::channel();
    let address = greet_over_tls(&config, 28, move |header| headers.send(header.to_vec()).unwrap()).to_string();
    let with = ["--connect", &address, "--tls-ca=ca.pem", "--proxy=v2 192.0.2.1:5000"];
    folder.run(&[&with[..], &["greet", "Bob"]].concat()).is(0, "Hello, Bob\n", "");
    let header = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(&header[..20], b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\x02\x01");
    let load = ["load", "--connections=2", "--warmup=0s", "--duration=50ms", "--line=Bob", "--expect=Hello, Bob"];
    let loaded = folder.run(&[&with[..], &load].concat());
    assert_eq!(loaded.code, Some(0), "{loaded:?}");
}

#[test]
fn what_blesses_a_script_has_the_options_of_tls() {
    let (folder, _, config) = world("bless", &[("a.talk", "> Bob\n< Hello, Rob\n")]);
    let address = greeter(&config).to_string();
    let outcome = folder.run(&["--connect", &address, "--tls-ca=ca.pem", "run", "a.talk"]);
    let report = String::from_utf8_lossy(&outcome.stdout).into_owned();
    let advice = format!("greeter-client --connect {address} --tls-ca ca.pem run --bless a.talk\n");
    assert!(report.contains(&advice), "{report}");
}
