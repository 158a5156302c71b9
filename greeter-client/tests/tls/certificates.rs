//! Certificates that are good, and what is said of those that are not.

use std::error::Error;
use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use greeter_client::{
    ConnectError, Connection, ConnectionError, ConnectionOptions, ServerAddress, TlsClient, TlsClientError,
    TlsClientOptions, TlsFailure,
};
use rustls::version::{TLS12, TLS13};
use rustls::{ALL_VERSIONS, ServerConfig};

use crate::kit::{
    Authority, Folder, Identity, client_of, over_tls, read_to_the_end, serve, serve_tls, server_config, stay_silent,
};

/// Connects to a server with this certificate, by the name that is in `address`.
fn connect(identity: &Identity, options: &TlsClientOptions) -> Result<Connection, ConnectError> {
    connect_to(&server_config(identity, None, ALL_VERSIONS), options)
}

fn connect_to(config: &Arc<ServerConfig>, options: &TlsClientOptions) -> Result<Connection, ConnectError> {
    let server = serve_tls(config, |mut stream| {
        let mut name = [0; 4];
        // A client that does not like us says so here.
        if stream.read_exact(&mut name).is_ok() {
            stream.write_all(&[b"Hello, ", &name[..]].concat()).unwrap();
        }
    });
    connect_at(&server.address, options)
}

fn connect_at(address: &ServerAddress, options: &TlsClientOptions) -> Result<Connection, ConnectError> {
    let mut connection = ConnectionOptions::default();
    connection.tls = Some(TlsClient::new(options).unwrap());
    Connection::connect_with(address, &connection)
}

/// Options that trust `authority`.
fn trusting(authority: &Authority, folder: &Folder) -> TlsClientOptions {
    let mut options = TlsClientOptions::default();
    options.ca = Some(authority.write(folder));
    options
}

/// The failure of the handshake, and its words.
#[track_caller]
fn failed(outcome: Result<Connection, ConnectError>) -> (TlsFailure, String) {
    match outcome {
        Err(ConnectError::Tls { source, .. }) => {
            let words = source.to_string();
            (source, words)
        }
        outcome => panic!("{outcome:?}"),
    }
}

#[test]
fn a_certificate_from_whom_we_trust_is_good() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("good", &[]));
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = server_config(&authority.issue(&["localhost"]), None, versions);
        let mut connection = connect_to(&config, &trusting(&authority, &folder)).unwrap();
        assert_eq!(connection.ask("Bob").unwrap(), b"Hello, Bob");
    }
}

#[test]
fn one_that_has_expired_or_begins_later_is_not_and_that_is_said() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("time", &[]));
    let options = trusting(&authority, &folder);
    let old = authority.issue_with(&["localhost"], |params| {
        (params.not_before, params.not_after) = (rcgen::date_time_ymd(2019, 1, 1), rcgen::date_time_ymd(2020, 1, 1));
    });
    let (failure, words) = failed(connect(&old, &options));
    assert!(matches!(failure, TlsFailure::Expired { .. }));
    assert!(words.starts_with("the server's certificate expired ") && words.ends_with(" days ago"), "{words}");

    let young = authority.issue_with(&["localhost"], |params| params.not_before = rcgen::date_time_ymd(2999, 1, 1));
    let (failure, words) = failed(connect(&young, &options));
    assert!(matches!(failure, TlsFailure::NotYetValid { .. }));
    assert!(words.starts_with("the server's certificate is not valid before "), "{words}");
}

#[test]
fn one_for_another_name_is_not_and_its_names_are_told() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("name", &[]));
    let mut options = trusting(&authority, &folder);
    let mail = authority.issue(&["mail.example", "mx.example"]);
    let (_, words) = failed(connect(&mail, &options));
    assert_eq!(words, "the server's certificate is not for 'localhost', but for mail.example, mx.example");
    options.name = Some("mx.example".to_owned());
    assert!(connect(&mail, &options).is_ok());
    options.name = Some("a b".to_owned());
    assert!(matches!(TlsClient::new(&options), Err(TlsClientError::BadName(name)) if name == "a b"));
}

#[test]
fn an_address_by_number_needs_a_certificate_with_it() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("number", &[]));
    let options = trusting(&authority, &folder);
    for (names, is_good) in [(&["127.0.0.1"][..], true), (&["localhost"], false)] {
        let config = server_config(&authority.issue(names), None, ALL_VERSIONS);
        let server = serve_tls(&config, |mut stream| drop(stream.read(&mut [0])));
        let address = server.address.to_string().replace("localhost", "127.0.0.1").parse().unwrap();
        assert_eq!(connect_at(&address, &options).is_ok(), is_good, "{names:?}");
    }
}

#[test]
fn one_from_somebody_else_is_not() {
    let (ours, theirs, folder) = (Authority::new("ours"), Authority::new("theirs"), Folder::new("issuer", &[]));
    let (failure, words) = failed(connect(&theirs.issue(&["localhost"]), &trusting(&ours, &folder)));
    assert!(matches!(failure, TlsFailure::UnknownIssuer));
    assert_eq!(words, "the server's certificate was issued by nobody whom we trust");

    let mut insecure = TlsClientOptions::default();
    insecure.insecure = true;
    assert!(connect(&theirs.issue(&["elsewhere"]), &insecure).is_ok());
}

#[test]
fn a_server_that_demands_our_certificate_says_so_and_takes_one() {
    let (authority, others, folder) = (Authority::new("ours"), Authority::new("others"), Folder::new("mutual", &[]));
    let server = authority.issue(&["localhost"]);
    for versions in [&[&TLS12][..], &[&TLS13]] {
        let config = server_config(&server, Some(&authority), versions);
        let mut options = trusting(&authority, &folder);
        let none = refusal(connect_to(&config, &options));
        let demands = [
            "it demands a certificate of ours",
            "nothing that both sides can speak, or a certificate of ours is missing",
        ];
        assert!(demands.iter().any(|words| none == format!("the server ended it: {words}")), "{none}");

        let (certificate, key) = others.issue(&["bob"]).write(&folder);
        (options.certificate, options.key) = (Some(certificate), Some(key));
        let other = refusal(connect_to(&config, &options));
        assert_eq!(other, "the server ended it: it does not trust whoever has issued our certificate");

        let for_servers = authority.issue_with(&["bob"], |params| {
            params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
        });
        for_servers.write(&folder);
        let unsupported = refusal(connect_to(&config, &options));
        let words = "it is of a kind, or for a use, that the server does not support";
        assert_eq!(unsupported, format!("the server ended it: it does not take our certificate: {words}"));

        authority.issue(&["bob"]).write(&folder);
        assert_eq!(connect_to(&config, &options).unwrap().ask("Bob").unwrap(), b"Hello, Bob");
    }
}

/// What a server has against our certificate: with TLS 1.3 we hear of it when we read.
#[track_caller]
fn refusal(outcome: Result<Connection, ConnectError>) -> String {
    match outcome {
        Ok(mut connection) => match connection.receive() {
            Err(ConnectionError::Lost(error)) => error.to_string(),
            received => panic!("{received:?}"),
        },
        outcome => failed(outcome).1,
    }
}

#[test]
fn files_that_cannot_be_used_are_named() {
    let folder = Folder::new("files", &[("empty.pem", ""), ("text.pem", "hello\n")]);
    let file = |name: &str| Some(folder.0.join(name));
    let (first, second) = (Authority::new("a").issue(&["a"]), Authority::new("b").issue(&["b"]));
    first.write(&folder);
    std::fs::write(folder.0.join("other.pem"), second.key).unwrap();
    let refused = |ca: Option<&str>, certificate: Option<&str>, key: Option<&str>| {
        let mut options = TlsClientOptions::default();
        options.ca = ca.and_then(file);
        // The system may have none.
        options.insecure = ca.is_none();
        (options.certificate, options.key) = (certificate.and_then(file), key.and_then(file));
        TlsClient::new(&options).unwrap_err()
    };
    let path = |name: &str| folder.0.join(name).display().to_string();
    let missing = refused(Some("missing.pem"), None, None);
    assert_eq!(missing.to_string(), format!("cannot read {}", path("missing.pem")));
    assert!(missing.source().is_some());
    for name in ["empty.pem", "text.pem"] {
        let words = format!("{} holds no certificate in PEM form", path(name));
        assert_eq!(refused(Some(name), None, None).to_string(), words);
        let words = format!("{} holds no private key in PEM form", path(name));
        assert_eq!(refused(None, Some("cert.pem"), Some(name)).to_string(), words);
    }
    let of = |name: &str| std::fs::read_to_string(folder.0.join(name)).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.0.join(name), text).unwrap();
    let (certificate, key) = (of("cert.pem"), of("key.pem"));
    for (text, reason) in [
        (&certificate[..certificate.len() - 40], "it is cut short: a line with BEGIN has none with END"),
        (&*certificate.replacen("-----\n", "----\n", 1), "it has a line with BEGIN that does not end with -----"),
        (&*certificate.replacen('M', "?", 1), "it has something between BEGIN and END that is no base64"),
    ] {
        write("broken.pem", text);
        let words = format!("{} cannot be used: {reason}", path("broken.pem"));
        assert_eq!(refused(Some("broken.pem"), None, None).to_string(), words);
    }
    write("cut.pem", &key[..key.len() - 40]);
    let words = format!("{} cannot be used: it is cut short: a line with BEGIN has none with END", path("cut.pem"));
    assert_eq!(refused(None, Some("cert.pem"), Some("cut.pem")).to_string(), words);
    write("secret.pem", &key.replace("PRIVATE KEY", "ENCRYPTED PRIVATE KEY"));
    let secret = path("secret.pem");
    let words = format!(
        "{secret} cannot be used: it is encrypted, and nobody is asked for its password: \
         decrypt it by openssl pkey -in {secret} -out PLAIN"
    );
    assert_eq!(refused(None, Some("cert.pem"), Some("secret.pem")).to_string(), words);
    assert!(matches!(refused(None, Some("cert.pem"), None), TlsClientError::HalfIdentity));
    assert!(matches!(refused(None, None, Some("key.pem")), TlsClientError::HalfIdentity));
    assert_eq!(
        refused(None, Some("cert.pem"), Some("other.pem")).to_string(),
        format!("{} cannot be used: it does not belong to the certificate in {}", path("other.pem"), path("cert.pem"))
    );
}

#[test]
fn a_server_that_speaks_no_tls_is_told_by_what_it_says() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("plain", &[]));
    let options = trusting(&authority, &folder);
    let banner = serve(|mut stream| {
        stream.write_all(b"220 mail.example ESMTP\r\n").unwrap();
        read_to_the_end(stream);
    });
    let (_, words) = failed(connect_at(&over_tls(&banner.address), &options));
    assert_eq!(words, r"the server does not speak TLS: it said '220 mail.example ESMTP\r\n'");

    let (_, words) = failed(connect_at(&over_tls(&serve(drop).address), &options));
    let closed = ["the server closed the connection instead of answering", "the connection was lost"];
    assert!(closed.contains(&&*words), "{words}");
}

#[test]
fn a_server_that_does_not_answer_is_given_up_at_the_timeout() {
    let (authority, folder) = (Authority::new("ours"), Folder::new("silent", &[]));
    let server = serve(stay_silent);
    let mut options = ConnectionOptions::default();
    options.timeout = Some(Duration::from_millis(300));
    options.tls = Some(client_of(&authority, &folder));
    let address = over_tls(&server.address);
    let error = Connection::connect_with(&address, &options).unwrap_err();
    assert_eq!(error.to_string(), format!("cannot speak TLS with {address}"));
    let words = "the server accepted the connection and did not answer within 300ms: does it speak TLS?";
    assert_eq!(error.source().unwrap().to_string(), words);
}

#[cfg(unix)]
#[test]
fn a_unix_socket_needs_a_name() {
    use std::os::unix::net::UnixListener;

    let (authority, folder) = (Authority::new("ours"), Folder::new("unix", &[]));
    let mut options = trusting(&authority, &folder);
    let path = folder.0.join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let address = ServerAddress::unix(&path).over_tls();
    let (failure, _) = failed(connect_at(&address, &options));
    assert!(matches!(failure, TlsFailure::NoName));

    let config = server_config(&authority.issue(&["greeter"]), None, ALL_VERSIONS);
    let server = std::thread::spawn(move || {
        let socket = listener.incoming().nth(1).unwrap().unwrap();
        let connection = rustls::ServerConnection::new(config).unwrap();
        rustls::StreamOwned::new(connection, socket).write_all(b"Hello\n").unwrap();
    });
    options.name = Some("greeter".to_owned());
    assert_eq!(connect_at(&address, &options).unwrap().receive().unwrap(), Some(&b"Hello"[..]));
    server.join().unwrap();
}
