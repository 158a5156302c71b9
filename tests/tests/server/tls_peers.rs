//! Who is at the other end of TLS, and who is not let in.

use std::path::Path;
use std::sync::Arc;

use greeter_server::{BoxError, ClientAuth, CloseReason, Line, Peer, Reply, Responder, ServerHandle, Tls, TlsOptions};
use greeter_tests::books::at_rest;
use greeter_tests::client::inet;
use greeter_tests::directory::TestDirectory;
use greeter_tests::{builder, missing_program};
use rcgen::string::Ia5String;
use rcgen::{ExtendedKeyUsagePurpose, SanType};
use rustls::SupportedProtocolVersion;

use crate::kit::{Authority, Identity, NAME, TlsClient, TlsEnd, VERSIONS, World, socket_to, spawn_with};

/// Says what it knows of who asks.
struct Identified;

impl Responder for Identified {
    type Session = String;

    fn connect(&self, peer: &Peer, _: &mut Reply<'_>) -> Result<String, BoxError> {
        let tls = peer.tls().ok_or("it has no TLS")?;
        let alpn = tls.alpn.as_deref().map(|alpn| alpn.escape_ascii().to_string());
        let mut who = format!("{} {:?} {alpn:?}", tls.version, tls.server_name);
        if let Some(client) = &tls.client {
            let names = [&client.dns_names[..], &client.uris].concat().join(" ");
            let hex: String = client.sha256.iter().map(|byte| format!("{byte:02x}")).collect();
            who += &format!(" {} {hex} {names}", client.der.len());
        }
        Ok(who)
    }

    fn respond(&self, who: &mut String, _: Line<'_>, reply: &mut Reply<'_>) -> Result<(), BoxError> {
        reply.line(who.as_str());
        Ok(())
    }
}

/// A client that asks for this name, without a handshake yet.
fn asking_for(name: &str, server: &ServerHandle, config: &Arc<rustls::ClientConfig>) -> TlsClient<std::net::TcpStream> {
    TlsClient::asking_for(name, socket_to(inet(server.local_addr())), config)
}

#[test]
fn the_responder_knows_version_name_and_application() {
    let world = World::new();
    let server = spawn_with(builder().responder(Identified), world.options().alpn(["one", "two"]));
    for (version, said) in VERSIONS.into_iter().zip(["TLSv1.2", "TLSv1.3"]) {
        let config = world.authority.trusting(&[version]);
        for (asks_for, gets) in
            [(&["two", "three"][..], "Some(\"two\")"), (&["two", "one"], "Some(\"one\")"), (&[], "None")]
        {
            let mut config = rustls::ClientConfig::clone(&config);
            config.alpn_protocols = asks_for.iter().map(|name| name.as_bytes().to_vec()).collect();
            let mut client = asking_for(NAME, &server, &Arc::new(config));
            client.try_handshake().unwrap();
            assert_eq!(client.ask("who?"), format!("{said} Some({NAME:?}) {gets}\n"));
        }
        // An address is no name to ask for.
        let mut client = asking_for("127.0.0.1", &server, &config);
        client.try_handshake().unwrap();
        assert_eq!(client.ask("who?"), format!("{said} None None\n"));
    }
    at_rest(&server);
}

#[test]
fn who_wants_another_application_is_told_by_an_alert() {
    let world = World::new();
    let server = spawn_with(builder(), world.options().alpn(["one"]));
    for version in VERSIONS {
        let mut config = rustls::ClientConfig::clone(&world.authority.trusting(&[version]));
        config.alpn_protocols = vec![b"three".to_vec()];
        let error = asking_for(NAME, &server, &Arc::new(config)).try_handshake().unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    }
    assert_eq!(at_rest(&server).closed_by[CloseReason::HandshakeFailed], 2);
}

#[test]
fn the_name_that_is_asked_for_chooses_the_certificate() {
    let world = World::new();
    let pairs = [("first", "one.test"), ("second", "*.two.test"), ("third", "sub.two.test")];
    let options = pairs.iter().fold(Tls::options(), |options, (file, name)| {
        let (certificate, key) = world.identity(file, &[name]);
        options.certificate(certificate, key)
    });
    let server = spawn_with(builder(), options);
    let certificate = |file: &str| {
        use rustls::pki_types::pem::PemObject;
        let path = world.directory.file(format!("{file}.pem"));
        rustls::pki_types::CertificateDer::from_pem_file(path).unwrap()
    };
    for version in VERSIONS {
        let config = world.authority.trusting(&[version]);
        for (name, file) in [("one.test", "first"), ("sub.two.test", "second"), ("SUB.TWO.TEST", "second")] {
            let mut client = asking_for(name, &server, &config);
            client.try_handshake().unwrap();
            assert_eq!(client.tls.peer_certificates().unwrap(), [certificate(file)], "{name}");
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
        }
        // Others get the first, which is not theirs.
        let error = asking_for("three.test", &server, &config).try_handshake().unwrap_err();
        assert!(error.to_string().contains("one.test"), "{error}");
    }
}

/// Options that ask for certificates.
fn asking(world: &World, auth: ClientAuth) -> TlsOptions {
    world.options().client_authorities(world.ca(), auth)
}

/// How it goes for a client with this certificate, or none.
fn visit(
    world: &World,
    server: &ServerHandle,
    version: &'static SupportedProtocolVersion,
    own: Option<&Identity>,
) -> Result<String, String> {
    let config = world.authority.client(&[version], own);
    let mut client = asking_for(NAME, server, &config);
    client.try_handshake().map_err(|error| error.to_string())?;
    // In TLS 1.3, it believes that it is in.
    let line = client.seal("who?\n");
    let _ = std::io::Write::write_all(&mut client.socket, &line);
    client.tls.send_close_notify();
    let end = client.take_ciphertext();
    let _ = std::io::Write::write_all(&mut client.socket, &end);
    match client.try_rest() {
        Ok((said, TlsEnd::CloseNotify)) => Ok(said),
        Ok((said, TlsEnd::Truncated)) => Err(format!("truncated: {said:?}")),
        Err(error) => Err(error.to_string()),
    }
}

#[test]
fn a_certificate_that_is_demanded_is_known_to_the_responder() {
    if missing_program("openssl", "openssl") {
        return;
    }
    let world = World::new();
    for auth in [ClientAuth::Required, ClientAuth::Optional] {
        let server = spawn_with(builder().responder(Identified), asking(&world, auth));
        let own = world.authority.issue_with(&["bob.test", "*.bob.test"], |params| {
            params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from("spiffe://here/bob").unwrap()));
        });
        let (file, _) = own.write(&world.directory, "bob");
        for version in VERSIONS {
            let said = visit(&world, &server, version, Some(&own)).unwrap();
            let fingerprint = fingerprint(&file);
            assert!(said.ends_with(&format!("{fingerprint} bob.test *.bob.test spiffe://here/bob\n")), "{said}");
        }
        at_rest(&server);
    }
}

/// The digest of a certificate, as others have it.
fn fingerprint(file: &Path) -> String {
    let mut command = std::process::Command::new("openssl");
    let output = command
        .args(["x509", "-noout", "-fingerprint", "-sha256", "-in"])
        .arg(file)
        .output()
        .expect("a program can be started");
    let text = String::from_utf8(output.stdout).expect("it is text");
    text.trim().split_once('=').expect("it has one").1.replace(':', "").to_lowercase()
}

#[test]
fn whoever_has_no_good_certificate_is_refused_by_an_alert() {
    let world = World::new();
    let required = spawn_with(builder(), asking(&world, ClientAuth::Required));
    let optional = spawn_with(builder(), asking(&world, ClientAuth::Optional));
    let stranger = Authority::new("theirs").issue(&["bob.test"]);
    let expired = world.authority.issue_expired(&["bob.test"]);
    let own = Identity::self_signed(&["bob.test"]);
    let for_servers = world.authority.issue_with(&["bob.test"], |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    for version in VERSIONS {
        for (who, alert) in [
            (&expired, "CertificateExpired"),
            (&stranger, "UnknownCA"),
            (&own, "UnknownCA"),
            (&for_servers, "Certificate"),
        ] {
            for server in [&required, &optional] {
                let error = visit(&world, server, version, Some(who)).unwrap_err();
                assert!(error.contains(alert), "{error}, not {alert}");
            }
        }
        let error = visit(&world, &required, version, None).unwrap_err();
        assert!(error.contains("CertificateRequired") || error.contains("HandshakeFailure"), "{error}");
        assert_eq!(visit(&world, &optional, version, None).unwrap(), "Hello, who?\n");
    }
    let stats = at_rest(&required);
    assert_eq!((stats.closed_by[CloseReason::HandshakeFailed], stats.accepted), (10, 10));
    let stats = at_rest(&optional);
    assert_eq!((stats.closed_by[CloseReason::HandshakeFailed], stats.accepted), (8, 10));
}

#[test]
fn a_name_that_holds_a_nul_is_none() {
    let world = World::new();
    let server = spawn_with(builder().responder(Identified), asking(&world, ClientAuth::Required));
    let own = world.authority.issue_with(&["bob.test"], |params| {
        for name in ["boss.test\0.bob.test", "boss.test\0"] {
            params.subject_alt_names.push(SanType::DnsName(Ia5String::try_from(name).unwrap()));
            let uri = format!("spiffe://{name}");
            params.subject_alt_names.push(SanType::URI(Ia5String::try_from(uri).unwrap()));
        }
    });
    for version in VERSIONS {
        // It may be refused as a whole, too.
        if let Ok(said) = visit(&world, &server, version, Some(&own)) {
            assert!(said.ends_with(" bob.test\n") && !said.contains("boss"), "{said:?}");
        }
    }
    at_rest(&server);
}

#[test]
fn new_files_are_for_new_clients_and_a_pair_that_does_not_fit_changes_nothing() {
    let world = World::new();
    let (certificate, key) = world.identity("server", &[NAME]);
    let tls = Tls::from_files(&certificate, &key).unwrap();
    let listener = greeter_server::Listener::from("127.0.0.1:0").tls(&tls);
    let server = builder().bind(listener).unwrap().spawn().unwrap();
    let shown = |client: &TlsClient<_>| client.tls.peer_certificates().unwrap()[0].to_vec();
    let mut first = world.connect(&server);
    assert!(!tls.reload().unwrap());

    let elsewhere = TestDirectory::new();
    let (new_certificate, new_key) = world.authority.issue(&[NAME]).write(&elsewhere, "new");
    std::fs::copy(new_certificate, &certificate).unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("is not the key of the certificate"), "{error}");
    assert_eq!(shown(&world.connect(&server)), shown(&first));

    std::fs::copy(new_key, &key).unwrap();
    assert!(tls.reload().unwrap());
    assert_ne!(shown(&world.connect(&server)), shown(&first));
    assert_eq!(first.ask("Bob"), "Hello, Bob\n");
    std::fs::remove_file(&key).unwrap();
    assert!(tls.reload().unwrap_err().to_string().starts_with("cannot read "));
    assert_eq!(world.connect(&server).ask("Bob"), "Hello, Bob\n");
}

/// A ticket would let a client in without another look at its certificate, and early data can be
/// sent again by anybody.
#[test]
fn every_handshake_is_a_full_one_without_tickets_or_early_data() {
    let world = World::new();
    let server = world.spawn(builder());
    for version in VERSIONS {
        let mut config = world.authority.trusting(&[version]);
        Arc::get_mut(&mut config).expect("nobody else has it").enable_early_data = true;
        for _ in 0..3 {
            let mut client = TlsClient::connect(inet(server.local_addr()), &config);
            assert_eq!(client.ask("Bob"), "Hello, Bob\n");
            assert_eq!(client.tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
            assert_eq!((client.tls.tls13_tickets_received(), client.tls.is_early_data_accepted()), (0, false));
        }
    }
    at_rest(&server);
}
