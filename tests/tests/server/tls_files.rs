//! The files of certificates and keys: what is wrong with them, and that they are read again.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use greeter_server::{Listener, Server, Tls, TlsError};
use greeter_tests::client::wait_until;
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::kit::{NAME, World};

/// What is wrong with a certificate and a key.
#[track_caller]
fn problem(certificate: &Path, key: &Path) -> String {
    match Tls::from_files(certificate, key) {
        Err(error @ TlsError::Content { .. }) => error.to_string(),
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_key_that_is_encrypted_is_told_from_none() {
    let world = World::new();
    let (certificate, _) = world.identity("one", &[NAME]);
    let key = world.directory.file("secret.key");
    let plain = world.authority.issue(&[NAME]).key;
    let body = plain.lines().nth(1).unwrap();
    for encrypted in [
        plain.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"),
        format!(
            "-----BEGIN EC PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-256-CBC,\
             00000000000000000000000000000000\n\n{body}\n-----END EC PRIVATE KEY-----\n"
        ),
    ] {
        fs::write(&key, encrypted).unwrap();
        let path = key.display();
        let said = format!(
            "{path} is encrypted, and nobody is asked for its password: decrypt it by openssl pkey -in {path} -out PLAIN"
        );
        assert_eq!(problem(&certificate, &key), said);
    }
}

#[test]
fn a_file_in_part_is_said_to_be_without_its_bytes() {
    let world = World::new();
    let (certificate, key) = world.identity("one", &[NAME]);
    let good = [&certificate, &key].map(|path| fs::read_to_string(path).unwrap());
    for (wrong, good) in [&certificate, &key].into_iter().zip(&good) {
        let end = good.find("-----END").unwrap();
        for (broken, said) in [
            (good[..end - 10].to_owned(), "is cut short: a line with BEGIN has none with END"),
            (good.replacen("-----\n", "----\n", 1), "has a line with BEGIN that does not end with -----"),
            (good.replacen("M", "?", 1), "has something between BEGIN and END that is no base64"),
        ] {
            fs::write(wrong, broken).unwrap();
            assert_eq!(problem(&certificate, &key), format!("{} {said}", wrong.display()));
        }
        fs::write(wrong, good).unwrap();
    }
    assert!(Tls::from_files(&certificate, &key).is_ok());
}

#[test]
fn what_is_no_file_or_has_no_end_is_refused_at_once_and_good_files_are_read_behind_it() {
    let world = World::new();
    let (certificate, key) = world.identity("one", &[NAME]);
    let tls = Tls::from_files(&certificate, &key).unwrap();
    let path = |name: &str| world.directory.file(name);
    mknodat(CWD, path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    fs::create_dir(path("folder")).unwrap();
    symlink("/dev/zero", path("zeroes")).unwrap();
    File::create(path("sparse")).unwrap().set_len(400 << 20).unwrap();
    File::create(path("largest")).unwrap().set_len(1 << 20).unwrap();
    let good = fs::read(&certificate).unwrap();
    for (name, said) in [
        ("pipe", "is no file"),
        ("folder", "is no file"),
        ("zeroes", "is no file"),
        ("sparse", "is larger than 1 MiB"),
        ("largest", "has no certificate in PEM"),
    ] {
        assert_eq!(problem(&path(name), &key), format!("{} {said}", path(name).display()));
        fs::remove_file(&certificate).unwrap();
        symlink(path(name), &certificate).unwrap();
        assert_eq!(tls.reload().unwrap_err().to_string(), format!("{} {said}", certificate.display()));
        fs::remove_file(&certificate).unwrap();
        fs::write(&certificate, &good).unwrap();
        assert!(!tls.reload().unwrap(), "they are what they were");
    }
    world.identity("one", &[NAME]);
    assert!(tls.reload().unwrap());
}

#[test]
fn an_application_protocol_has_a_name_of_1_to_255_bytes() {
    let world = World::new();
    for length in [1, 255] {
        assert!(world.options().alpn(["line", &"p".repeat(length)]).load().is_ok());
    }
    for length in [0, 256] {
        let error = world.options().alpn(["line", &"p".repeat(length)]).load().unwrap_err();
        let said = format!("an application protocol (ALPN) has from 1 to 255 bytes, and one of {length} was given");
        assert_eq!(error.to_string(), said);
    }
}

/// How many threads of this process read certificates again.
fn reloading() -> usize {
    let threads = fs::read_dir("/proc/self/task").expect("Linux lists threads");
    // One may end meanwhile.
    let name = |thread: fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads.flatten().map(name).filter(|name| name.trim_end() == "certificates").count()
}

/// Its thread is the only one of its kind in this process.
#[test]
fn a_thread_reloads_until_nobody_has_it_any_more() {
    let world = World::new();
    let options = world.options();
    let tls = options.clone().load().unwrap();
    tls.reload_every(Duration::ZERO).unwrap();
    let server = Server::builder().bind(Listener::from("127.0.0.1:0").tls(&tls)).unwrap().spawn().unwrap();
    drop(tls);
    let shown = || world.connect(&server).tls.peer_certificates().unwrap()[0].to_vec();
    let first = shown();
    world.identity("server", &[NAME]);
    wait_until("the new certificate is shown", || shown() != first);
    assert_eq!(reloading(), 1);
    drop(server);
    wait_until("the thread has ended", || reloading() == 0);
    // Also one that would sleep for long.
    let tls = options.load().unwrap();
    tls.reload_every(Duration::MAX).unwrap();
    wait_until("the thread runs", || reloading() == 1);
    drop(tls);
    wait_until("the thread has ended", || reloading() == 0);
}

#[test]
fn it_shows_its_files_and_nothing_that_is_in_them() {
    let world = World::new();
    let tls = world.options().load().unwrap();
    let shown = format!("{tls:?}");
    assert!(shown.starts_with("Tls { certificates: [(\"") && shown.contains("server.key"), "{shown}");
}
