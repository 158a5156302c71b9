//! Programs that others wrote.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use crate::kit::{Authority, Folder, bare_greeter_client, run_with};

/// A process that does not outlive its test.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Where there is no openssl, that is said.
fn has_openssl() -> bool {
    let has =
        Command::new("openssl").arg("version").stdout(Stdio::null()).status().is_ok_and(|status| status.success());
    if !has {
        #[expect(clippy::print_stderr, reason = "whoever reads the results must know what was not tried")]
        {
            eprintln!("SKIPPED: there is no openssl");
        }
    }
    has
}

/// `openssl s_server`, which sends each line back reversed, and its port.
fn s_server(folder: &Folder, arguments: &[&str]) -> (Killed, u16) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new("openssl");
    command.args(["s_server", "-accept", &format!("127.0.0.1:{port}"), "-cert", "cert.pem", "-key", "key.pem", "-rev"]);
    command.args(arguments).current_dir(&folder.0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Killed(command.spawn().unwrap());
    let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("ACCEPT")));
    (child, port)
}

#[test]
fn openssls_server_is_talked_to_in_both_versions() {
    if !has_openssl() {
        return;
    }
    for version in ["-tls1_2", "-tls1_3"] {
        let (authority, folder) = (Authority::new("ours"), Folder::new("openssl", &[]));
        authority.write(&folder);
        authority.issue(&["localhost"]).write(&folder);
        let (_server, port) = s_server(&folder, &[version]);
        let address = format!("tls:localhost:{port}");
        let mut command = bare_greeter_client(&["--connect", &address, "--tls-ca=ca.pem"]);
        let outcome = run_with(command.current_dir(&folder.0), "hear\nstop\n");
        assert_eq!((outcome.code, &outcome.stdout[..]), (Some(0), &b"raeh\npots\n"[..]), "{version}: {outcome:?}");
    }
}

#[test]
fn a_certificate_that_openssl_demands_is_asked_for_in_words() {
    if !has_openssl() {
        return;
    }
    let (authority, folder) = (Authority::new("ours"), Folder::new("openssl-mutual", &[]));
    authority.write(&folder);
    authority.issue(&["localhost"]).write(&folder);
    let (_server, port) = s_server(&folder, &["-Verify", "1", "-CAfile", "ca.pem", "-verify_return_error"]);
    let address = format!("tls:localhost:{port}");
    let with = ["--connect", &address, "--tls-ca=ca.pem"];
    let refused = run_with(bare_greeter_client(&with).current_dir(&folder.0), "hear\n");
    assert_eq!(refused.code, Some(3), "{refused:?}");
    assert!(refused.stderr.contains("it demands a certificate of ours"), "{refused:?}");
    let known = [&with[..], &["--tls-cert=cert.pem", "--tls-key=key.pem"]].concat();
    let outcome = run_with(bare_greeter_client(&known).current_dir(&folder.0), "hear\n");
    assert_eq!(outcome.stdout, b"raeh\n", "{outcome:?}");
}
