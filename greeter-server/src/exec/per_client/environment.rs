//! What is known of a client, in the variables that UCSPI tools have for that (tcp-environ(5)).

use std::fmt::Write;

use greeter_core::{Address, Peer, ProxyAddresses};

/// All variables that tell of a client: one that this process has itself is none of a client's.
pub(super) const NAMES: &[&str] = &[
    "PROTO",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPLOCALHOST",
    "UNIXREMOTEEUID",
    "UNIXREMOTEEGID",
    "UNIXREMOTEPID",
    "SSL_PROTOCOL",
    "SSL_TLS_SNI_SERVERNAME",
    "SSL_PEER_CERT_HASH",
    "GREETER_LISTENER",
];

/// Returns the variables of a client.
pub(super) fn of(peer: &Peer) -> Vec<(&'static str, String)> {
    let mut variables = Vec::new();
    let mut set = |name, value| variables.push((name, value));
    match peer.address {
        Address::Inet(address) => {
            set("PROTO", "TCP".to_owned());
            set("TCPREMOTEIP", address.ip().to_string());
            set("TCPREMOTEPORT", address.port().to_string());
        }
        Address::Unix(credentials) => {
            set("PROTO", "UNIX".to_owned());
            if let Some(credentials) = credentials {
                set("UNIXREMOTEEUID", credentials.uid.to_string());
                set("UNIXREMOTEEGID", credentials.gid.to_string());
                credentials.pid.into_iter().for_each(|pid| set("UNIXREMOTEPID", pid.to_string()));
            }
        }
        _ => set("PROTO", "TCP".to_owned()),
    }
    let Some(origin) = &peer.origin else { return variables };
    if let Some(ProxyAddresses::Inet { destination, .. }) = origin.proxy.as_ref().map(|proxy| &proxy.addresses) {
        set("TCPLOCALIP", destination.ip().to_string());
        set("TCPLOCALPORT", destination.port().to_string());
    }
    if let Some(tls) = &origin.tls {
        set("SSL_PROTOCOL", tls.version.to_string());
        tls.server_name.iter().for_each(|name| set("SSL_TLS_SNI_SERVERNAME", name.to_string()));
        tls.client.iter().for_each(|client| set("SSL_PEER_CERT_HASH", hex(&client.sha256)));
    }
    origin.listener.iter().for_each(|name| set("GREETER_LISTENER", name.to_string()));
    variables
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

#[cfg(test)]
#[cfg(not(loom))]
mod tests {
    use std::sync::Arc;

    use greeter_core::{ClientCertificate, Origin, TlsInfo, TlsVersion, client_id};

    use super::*;

    #[test]
    fn what_is_known_is_told_and_has_a_name_that_is_forgotten_otherwise() {
        let mut info = TlsInfo::new(TlsVersion::Tls13);
        info.server_name = Some("mail.example".into());
        info.client = Some(ClientCertificate::new(b"", [0xab; 32]));
        let mut peer = Peer::new(client_id(1), std::net::SocketAddr::from(([0x2001, 0, 0, 0, 0, 0, 0, 1], 7)).into());
        peer.origin = Some(Arc::new(Origin::new(None, Some(info)).with_listener("main")));
        let told = of(&peer);
        assert!(told.iter().all(|(name, _)| NAMES.contains(name)));
        let told: Vec<_> = told.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let hash = format!("SSL_PEER_CERT_HASH={}", "ab".repeat(32));
        let expected = [
            "PROTO=TCP",
            "TCPREMOTEIP=2001::1",
            "TCPREMOTEPORT=7",
            "SSL_PROTOCOL=TLSv1.3",
            "SSL_TLS_SNI_SERVERNAME=mail.example",
            &hash,
            "GREETER_LISTENER=main",
        ];
        assert_eq!(told, expected);
    }
}
