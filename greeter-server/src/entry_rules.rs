//! What a client owes at a listener before it says its first line. Must not read any of it.

use std::net::IpAddr;
use std::sync::Arc;

use greeter_core::{Address, Origin, Proxied, TlsInfo};
use ipnet::IpNet;

use crate::tls::session::NewTlsSession;

/// What is asked of the clients of one listener.
#[derive(Clone, Debug, Default)]
pub(crate) struct EntryRules {
    /// Who is a proxy, and owes a PROXY header.
    pub(crate) proxies: Option<ProxyNetworks>,
    pub(crate) tls: Option<TlsRule>,
    /// What is known of everybody who comes here, if anything is.
    pub(crate) origin: Option<Arc<Origin>>,
}

/// When clients speak TLS, and what makes their sessions.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "tls"), allow(dead_code, reason = "sessions come with the feature, or from simulated worlds"))]
pub(crate) enum TlsRule {
    AtOnce(Arc<dyn NewTlsSession>),
    OnRequest(Arc<dyn NewTlsSession>),
}

/// The networks from which proxies connect.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ProxyNetworks {
    networks: Vec<IpNet>,
    /// Whether whoever connects to a Unix socket is a proxy.
    unix: bool,
}

impl EntryRules {
    /// Returns whether a client at this address owes anything.
    pub(crate) fn asks_of(&self, address: Address) -> bool {
        self.has_handshake() || self.is_proxy(address)
    }

    /// Returns the origin of a client that has given this account of itself.
    pub(crate) fn origin_of(&self, proxy: Option<Proxied>, tls: Option<TlsInfo>) -> Arc<Origin> {
        let mut origin = self.origin.as_deref().cloned().unwrap_or_default();
        (origin.proxy, origin.tls) = (proxy, tls);
        Arc::new(origin)
    }

    /// Returns whether a client begins with a handshake.
    pub(crate) const fn has_handshake(&self) -> bool {
        matches!(self.tls, Some(TlsRule::AtOnce(_)))
    }

    /// Returns what makes the session of a client whose responder asks for it.
    pub(crate) const fn tls_on_request(&self) -> Option<&Arc<dyn NewTlsSession>> {
        match &self.tls {
            Some(TlsRule::OnRequest(tls)) => Some(tls),
            Some(TlsRule::AtOnce(_)) | None => None,
        }
    }

    /// Returns whether this is the address of a proxy.
    pub(crate) fn is_proxy(&self, address: Address) -> bool {
        self.proxies.as_ref().is_some_and(|proxies| proxies.contain(address))
    }

    /// Returns whether any client may owe anything.
    pub(crate) const fn asks(&self) -> bool {
        self.has_handshake() || self.proxies.is_some()
    }
}

impl ProxyNetworks {
    /// Parses networks such as `10.0.0.0/8` and `2001:db8::/32`, single addresses, and `unix`.
    /// Returns the first word that is none of these.
    pub(crate) fn parse(words: impl IntoIterator<Item = impl AsRef<str>>) -> Result<Self, String> {
        let mut parsed = Self::default();
        for word in words {
            let word = word.as_ref();
            match word.parse().or_else(|_| word.parse::<IpAddr>().map(IpNet::from)) {
                // With an address in it that is not its first, it may have been meant for that one.
                Ok(network) if network.addr() == network.network() => parsed.networks.push(canonical(network)),
                Ok(_) => return Err(word.to_owned()),
                Err(_) if word == "unix" => parsed.unix = true,
                Err(_) => return Err(word.to_owned()),
            }
        }
        Ok(parsed)
    }

    fn contain(&self, address: Address) -> bool {
        match address {
            Address::Unix(_) => self.unix,
            address => {
                let ip = address.ip().map(|ip| ip.to_canonical());
                ip.is_some_and(|ip| self.networks.iter().any(|network| network.contains(&ip)))
            }
        }
    }
}

/// An IPv4 network that is written as IPv6 is an IPv4 network.
fn canonical(network: IpNet) -> IpNet {
    const MAPPED_BITS: u8 = 96;
    let prefix = network.prefix_len();
    match network.addr().to_canonical() {
        ip @ IpAddr::V4(_) if network.addr().is_ipv6() && prefix >= MAPPED_BITS => {
            IpNet::new(ip, prefix - MAPPED_BITS).unwrap_or(network)
        }
        _ => network,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_is_told_by_its_network() {
        let proxies = ProxyNetworks::parse(["10.1.0.0/16", "192.0.2.1", "2001:db8::/32", "::ffff:172.16.0.0/108"]);
        let entry_rules = EntryRules { proxies: Some(proxies.unwrap()), ..EntryRules::default() };
        let is_proxy = |ip: &str| entry_rules.is_proxy((ip.parse::<IpAddr>().unwrap(), 1).into());
        for ip in ["10.1.255.255", "::ffff:10.1.2.3", "192.0.2.1", "2001:db8:ffff::1", "172.31.0.1"] {
            assert!(is_proxy(ip), "{ip}");
        }
        for ip in ["10.2.0.0", "192.0.2.2", "2001:db9::", "172.32.0.1", "::1"] {
            assert!(!is_proxy(ip), "{ip}");
        }
        assert!(!entry_rules.is_proxy(Address::Unix(None)) && !entry_rules.is_proxy(Address::Unknown));
        let unix = EntryRules { proxies: Some(ProxyNetworks::parse(["unix"]).unwrap()), ..EntryRules::default() };
        assert!(unix.is_proxy(Address::Unix(None)) && !unix.is_proxy(([127, 0, 0, 1], 1).into()));
    }

    #[test]
    fn a_word_that_is_no_network_is_returned() {
        for word in ["", "10.0.0.0/33", "10.0.0.1/8", "localhost", "10.0.0", "*"] {
            assert_eq!(ProxyNetworks::parse(["10.0.0.0/8", word]), Err(word.to_owned()));
        }
    }
}
