//! Checks headers of the PROXY protocol, each of them cut at every place.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use greeter_core::{Address, ProxyAddresses, ProxyHeader, ProxyHeaderError};
use proptest::collection::vec;
use proptest::prelude::*;
use proxy_header::{ProxiedAddress, ProxyHeader as Other, Tlv};

#[path = "../proxy/property.rs"]
mod property;

use ProxyHeaderError::*;
use property::{crc32c, holds, parse_cut_anywhere};

const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
const IPV4: &[u8] = &[192, 0, 2, 1, 198, 51, 100, 7, 0xDC, 0x04, 0x01, 0xBB];

/// A header of version 2 with the length that it has.
fn v2(command: u8, family: u8, parts: &[&[u8]]) -> Vec<u8> {
    let block = parts.concat();
    let length = u16::try_from(block.len()).expect("it is a length").to_be_bytes();
    [SIGNATURE, &[command, family], &length, &block].concat()
}

fn tlv(kind: u8, value: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(value.len()).expect("it is a length").to_be_bytes();
    [&[kind, high, low], value].concat()
}

fn inet(source: &str, destination: &str) -> ProxyAddresses {
    let address = |text: &str| text.parse().expect("it is an address");
    ProxyAddresses::Inet { source: address(source), destination: address(destination) }
}

/// Asserts that the header is found where it ends, whatever follows, and returns it.
#[track_caller]
fn accepts(bytes: &[u8], addresses: ProxyAddresses) -> ProxyHeader {
    let (header, length) = parse_cut_anywhere(bytes).expect("it is valid").expect("it is complete");
    assert_eq!((header.addresses, length), (addresses, bytes.len()));
    for behind in [&b"Bob\n"[..], b"\r\n", b"PROXY UNKNOWN\r\n", &[0; 500]] {
        let parsed = parse_cut_anywhere(&[bytes, behind].concat());
        assert_eq!(parsed, Ok(Some((header.clone(), length))));
    }
    holds(bytes);
    header
}

/// Asserts that the error is certain with the last of these bytes and not before, and that it stays
/// whatever follows.
#[track_caller]
fn rejects(bytes: &[u8], error: ProxyHeaderError) {
    assert_eq!(parse_cut_anywhere(&bytes[..bytes.len() - 1]), Ok(None));
    assert_eq!(parse_cut_anywhere(bytes), Err(error));
    for behind in [&b"\r\n"[..], b" 1.2.3.4 1 2\r\n", &[0; 500]] {
        assert_eq!(parse_cut_anywhere(&[bytes, behind].concat()), Err(error));
        holds(&[bytes, behind].concat());
    }
}

// Version 1.

#[test]
fn a_line_names_the_client_and_where_it_connected_to() {
    accepts(b"PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n", inet("192.0.2.1:56324", "198.51.100.7:443"));
    accepts(b"PROXY TCP4 255.255.255.255 0.0.0.0 65535 0\r\n", inet("255.255.255.255:65535", "0.0.0.0:0"));
    accepts(b"PROXY TCP6 2001:db8::1 ::1 56324 443\r\n", inet("[2001:db8::1]:56324", "[::1]:443"));
    accepts(b"PROXY TCP6 :: 1:2:3:4:5:6:7:: 1 2\r\n", inet("[::]:1", "[1:2:3:4:5:6:7:0]:2"));
    let widest = "ffff:".repeat(7) + "FFFF";
    let line = format!("PROXY TCP6 {widest} {widest} 65535 65535\r\n");
    assert_eq!(line.len(), 104);
    accepts(line.as_bytes(), inet(&format!("[{widest}]:65535"), &format!("[{widest}]:65535")));
}

#[test]
fn a_client_of_which_the_line_knows_nothing_is_unknown_and_no_error() {
    accepts(b"PROXY UNKNOWN\r\n", ProxyAddresses::Unknown);
    accepts(b"PROXY UNKNOWN ffff:f...f:ffff \xFF\0  TCP4 1 65535\r\n", ProxyAddresses::Unknown);
    accepts(b"PROXY UNKNOWN\t\r\n", ProxyAddresses::Unknown);
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let line = |bytes: usize| format!("PROXY UNKNOWN {}", "x".repeat(bytes - 14));
    for length in [15, 50, 106, 107] {
        accepts(format!("{}\r\n", line(length.max(16) - 2)).as_bytes(), ProxyAddresses::Unknown);
    }
    rejects(format!("{}\r", line(106)).as_bytes(), LineTooLong);
    rejects(line(107).as_bytes(), LineTooLong);
    assert_eq!(ProxyHeader::parse(format!("{}\r\n", line(106)).as_bytes()), Err(LineTooLong));
    assert_eq!(ProxyHeader::parse(line(1_000_000).as_bytes()), Err(LineTooLong));
    // Two addresses in their longest form do not fit.
    let mapped = "0000:0000:0000:0000:0000:ffff:255.255.255.255";
    let line = format!("PROXY TCP6 {mapped} {mapped} 65535 65535\r\n");
    assert_eq!(parse_cut_anywhere(line.as_bytes()), Err(LineTooLong));
}

#[test]
fn what_does_not_begin_as_a_header_is_none_from_its_first_wrong_byte_on() {
    for bytes in
        ["B", "p", "\n", " ", "Px", "PROXy", "PROXY\t", "PROXY\r", "\r\r", "\r\n\r\n\r", "\0", "\r\n\r\n\0\r\nQUIT\r"]
    {
        rejects(bytes.as_bytes(), NoHeader);
    }
    rejects(b"\x16", NoHeader);
    assert_eq!(ProxyHeader::parse(b""), Ok(None));
}

#[test]
fn a_protocol_that_does_not_exist_is_rejected() {
    for line in
        ["PROXY  ", "PROXY t", "PROXY TCP5", "PROXY TCP4\r", "PROXY TCP4\t", "PROXY UD", "PROXY UNKNOWM", "PROXY \r"]
    {
        rejects(line.as_bytes(), UnknownProtocol);
    }
}

#[test]
fn an_address_in_another_form_is_rejected() {
    for address in
        ["01", "00", "256", "1.2.3.4.", "1..", ".", " ", "1.2.3 ", "1.2.3.04", "+", "-", "1.2.3.4\r", "a", "1:"]
    {
        rejects(format!("PROXY TCP4 {address}").as_bytes(), InvalidAddress);
        rejects(format!("PROXY TCP4 1.2.3.4 {address}").as_bytes(), InvalidAddress);
    }
    for address in [
        ":::",
        "1::2::",
        "12345",
        "g",
        "[",
        "1:2:3:4:5:6:7:8:",
        "1:2:3:4:5:6:7 ",
        "1: ",
        ": ",
        " ",
        "::1%",
        "::1.2.3.4.",
        "::256.",
        "::01.",
        "1.",
        "1:2:3:4:5:6:7:1.",
        "::1.2.3 ",
        "::/",
        "1:2:3:4:5:6:7::8",
        "1::3:4:5:6:7:8:",
    ] {
        rejects(format!("PROXY TCP6 {address}").as_bytes(), InvalidAddress);
    }
    rejects(b"PROXY TCP4 1.2.3.4 1.2.3.\xFF", InvalidAddress);
    rejects(b"PROXY TCP6 ::\xC3", InvalidAddress);
}

#[test]
fn a_port_in_another_form_is_rejected() {
    for port in ["01", "00", "65536", "+", "-", " ", "99999", "1\r", "1\n", "x", "1x", "\u{7f}"] {
        rejects(format!("PROXY TCP4 1.2.3.4 1.2.3.4 {port}").as_bytes(), InvalidPort);
    }
    for port in ["01", "65536", "+", "\r", "1 ", "1\n"] {
        rejects(format!("PROXY TCP6 ::1 ::2 1 {port}").as_bytes(), InvalidPort);
    }
}

#[test]
fn a_line_ends_with_cr_lf_and_nothing_less() {
    for line in
        ["TCP4 1.2.3.4 1.2.3.4 1 2\rx", "TCP4 1.2.3.4 1.2.3.4 1 2\r\r", "UNKNOWN\n", "UNKNOWN a\rb", "UNKNOWN\r\r"]
    {
        rejects(format!("PROXY {line}").as_bytes(), InvalidLineEnding);
    }
}

// Version 2.

#[test]
fn a_binary_header_names_the_client_and_where_it_connected_to() {
    let ipv6 = [&[0x20, 1, 0xD, 0xB8][..], &[0; 11], &[1], &[0; 15], &[1], &IPV4[8..]].concat();
    for transport in [1, 2] {
        accepts(&v2(0x21, 0x10 | transport, &[IPV4]), inet("192.0.2.1:56324", "198.51.100.7:443"));
        accepts(&v2(0x21, 0x20 | transport, &[&ipv6]), inet("[2001:db8::1]:56324", "[::1]:443"));
        accepts(&v2(0x21, 0x30 | transport, &[b"/run/client", &[0; 205]]), ProxyAddresses::Unknown);
    }
}

#[test]
fn local_is_accepted_whatever_else_the_header_holds() {
    for family in [0x00, 0x11, 0x22, 0x31, 0x10, 0xFF] {
        for block in [&b""[..], b"\x03", IPV4, &tlv(3, b"\0\0\0\0"), &[0xFF; 300]] {
            let header = accepts(&v2(0x20, family, &[block]), ProxyAddresses::Local);
            assert_eq!(header.tlvs.iter().count(), 0);
        }
    }
}

#[test]
fn unspec_is_a_client_of_whom_nothing_is_known_but_what_tlvs_say() {
    let unspec = |block: &[u8]| accepts(&v2(0x21, 0x00, &[block]), ProxyAddresses::Unknown).tlvs;
    assert_eq!(unspec(b"").iter().count(), 0);
    assert_eq!(unspec(&tlv(5, b"id")).unique_id(), Some(&b"id"[..]));
    for no_tlvs in [IPV4, b"\x05", b"\x05\0\x03id", &[tlv(5, b"id"), vec![0]].concat()] {
        assert_eq!(unspec(no_tlvs).iter().count(), 0);
    }
}

#[test]
fn another_version_command_or_family_is_rejected_at_its_byte() {
    for (byte, error) in
        [(0x11, UnknownVersion), (0x01, UnknownVersion), (0x31, UnknownVersion), (0x0D, UnknownVersion)]
    {
        rejects(&[SIGNATURE, &[byte]].concat(), error);
    }
    for command in 0x22..=0x2F {
        rejects(&[SIGNATURE, &[command]].concat(), UnknownCommand);
    }
    for family in (0..=u8::MAX).filter(|family| ![0x00, 0x11, 0x12, 0x21, 0x22, 0x31, 0x32].contains(family)) {
        rejects(&[SIGNATURE, &[0x21, family]].concat(), UnknownFamily);
    }
}

#[test]
fn a_length_that_cannot_be_right_is_rejected_at_once() {
    let with = |command: u8, family: u8, length: u16| [SIGNATURE, &[command, family], &length.to_be_bytes()].concat();
    for (family, bytes) in [(0x11, 12), (0x12, 12), (0x21, 36), (0x22, 36), (0x31, 216), (0x32, 216)] {
        for short in [0, 1, bytes - 1] {
            rejects(&with(0x21, family, short), HeaderTooShort);
        }
        for left in [1, 2] {
            rejects(&with(0x21, family, bytes + left), InvalidTlv);
        }
        assert_eq!(parse_cut_anywhere(&with(0x21, family, bytes + 3)), Ok(None));
    }
    for (command, family) in [(0x20, 0x00), (0x20, 0xFF), (0x21, 0x00), (0x21, 0x11)] {
        rejects(&with(command, family, 4081), HeaderTooLong);
        rejects(&with(command, family, 4096)[..15], HeaderTooLong);
        rejects(&with(command, family, u16::MAX)[..15], HeaderTooLong);
        assert_eq!(parse_cut_anywhere(&with(command, family, 4080)), Ok(None));
    }
    let longest = v2(0x21, 0x11, &[IPV4, &tlv(0xE0, &[7; 4080 - 12 - 3])]);
    assert_eq!(longest.len(), 4096);
    accepts(&longest, inet("192.0.2.1:56324", "198.51.100.7:443"));
}

#[test]
fn tlvs_are_bytes_in_their_order() {
    let bytes = [
        tlv(2, b"h\xC3\xB6st"),
        tlv(4, b"pad"),
        tlv(0xEA, b"\x01vpce"),
        tlv(5, &[0; 128]),
        tlv(1, b""),
        tlv(2, b"\xFF"),
    ];
    let header = accepts(&v2(0x21, 0x11, &[IPV4, &bytes.concat()]), inet("192.0.2.1:56324", "198.51.100.7:443"));
    let kinds: Vec<_> = header.tlvs.iter().map(|(kind, value)| (kind, value.len())).collect();
    assert_eq!(kinds, [(2, 5), (0xEA, 5), (5, 128), (1, 0), (2, 1)]);
    let tlvs = &header.tlvs;
    assert_eq!((tlvs.authority(), tlvs.alpn()), (Some("höst".as_bytes()), Some(&b""[..])));
    assert_eq!((tlvs.unique_id(), tlvs.get(0xEA), tlvs.get(0x20)), (Some(&[0; 128][..]), Some(&b"\x01vpce"[..]), None));
    assert_eq!(format!("{tlvs:?}"), "{2: 5 bytes, 234: 5 bytes, 5: 128 bytes, 1: 0 bytes, 2: 1 bytes}");
}

#[test]
fn what_a_proxy_tells_of_tls_says_who_is_verified() {
    let tls = |value: &[u8]| {
        let header = accepts(&v2(0x21, 0x11, &[IPV4, &tlv(0x20, value)]), inet("192.0.2.1:56324", "198.51.100.7:443"));
        header.tlvs.tls().map(|tls| {
            let text = |name: Option<&[u8]>| name.map(|name| String::from_utf8_lossy(name).into_owned());
            (tls.is_spoken, tls.is_verified, text(tls.version), text(tls.common_name))
        })
    };
    let named = [tlv(0x21, b"TLSv1.3"), tlv(0x23, b"a cipher"), tlv(0x22, b"ann")].concat();
    let (version, ann) = (Some("TLSv1.3".to_owned()), Some("ann".to_owned()));
    for (flags, verify, is_spoken, is_verified) in
        [(7, 0, true, true), (5, 0, true, true), (1, 0, true, false), (7, 1, true, false), (0, 0, false, false)]
    {
        let value = [&[flags, 0, 0, 0, verify][..], &named].concat();
        assert_eq!(tls(&value), Some((is_spoken, is_verified, version.clone(), ann.clone())));
    }
    assert_eq!(tls(&[1, 0, 0, 0, 0]), Some((true, false, None, None)));
    // What does not fit says nothing.
    assert_eq!(tls(&[&[1, 0, 0, 0, 0][..], b"\x22\0\x09ann"].concat()), Some((true, false, None, None)));
    assert_eq!(tls(&[1, 0, 0, 0]), None);
}

#[test]
fn many_small_tlvs_are_no_more_than_one() {
    let header = accepts(&v2(0x21, 0x31, &[&[0; 216], &tlv(0xE1, b"").repeat(1288)]), ProxyAddresses::Unknown);
    assert_eq!(header.tlvs.iter().count(), 1288);
}

#[test]
fn a_tlv_that_does_not_fit_is_rejected_at_its_length() {
    let with = |left: u16, tlvs: &[u8]| [SIGNATURE, &[0x21, 0x11], &(12 + left).to_be_bytes(), IPV4, tlvs].concat();
    rejects(&with(5, b"\xE0\0\x03"), InvalidTlv);
    rejects(&with(5, b"\xE0\x01"), InvalidTlv);
    rejects(&with(3 + 256, b"\xE0\x02"), InvalidTlv);
    // Two bytes would be left over, or one.
    rejects(&with(5, b"\xE0\0\0"), InvalidTlv);
    rejects(&with(5, b"\xE0\0\x01"), InvalidTlv);
    rejects(&with(10, b"\xE0\0\x01x\xE0\0\x04"), InvalidTlv);
    accepts(&with(5, b"\xE0\0\x02xx"), inet("192.0.2.1:56324", "198.51.100.7:443"));
    accepts(&with(6, b"\xE0\0\0\xE0\0\0"), inet("192.0.2.1:56324", "198.51.100.7:443"));
}

#[test]
fn an_id_is_at_most_128_bytes_and_a_checksum_is_four() {
    let with = |tlvs: &[u8]| [SIGNATURE, &[0x21, 0x11], &(12 + 500_u16).to_be_bytes(), IPV4, tlvs].concat();
    rejects(&with(b"\x05\0\x81"), InvalidTlv);
    rejects(&with(b"\x05\x01"), InvalidTlv);
    assert_eq!(parse_cut_anywhere(&with(b"\x05\0\x80")), Ok(None));
    for length in [b"\0\x03", b"\0\x05", b"\0\0"] {
        rejects(&with(&[b"\x03", &length[..]].concat()), InvalidTlv);
    }
    rejects(&with(b"\x03\x01"), InvalidTlv);
}

#[test]
fn a_checksum_is_that_of_the_header_or_the_header_is_rejected() {
    let client = inet("192.0.2.1:56324", "198.51.100.7:443");
    let bytes = checked(v2(0x21, 0x11, &[IPV4, &tlv(2, b"host"), &tlv(3, &[0; 4]), &tlv(5, b"id")]));
    // The bytes in full, so that no mistake in how they are made here goes unseen.
    let header = accepts(&bytes, client);
    assert_eq!(header.tlvs.get(3), Some(&b"\xC2\xFE\xE3\x78"[..]));
    for wrong in 14..bytes.len() {
        for bit in [1, 0x80] {
            let mut bytes = bytes.clone();
            bytes[wrong] ^= bit;
            let parsed = parse_cut_anywhere(&bytes);
            // Without its type, it is no checksum any more; lengths are another matter.
            let stays = wrong == 35;
            assert!(
                matches!((stays, &parsed), (true, Ok(Some(_))) | (false, Err(_) | Ok(None))),
                "{wrong}: {parsed:?}"
            );
            holds(&bytes);
        }
    }
    let last = bytes.len() - 1;
    rejects(&[&bytes[..last], b"D"].concat(), WrongChecksum);
    let unspec = checked(v2(0x21, 0x00, &[&tlv(3, &[0; 4])]));
    accepts(&unspec, ProxyAddresses::Unknown);
    rejects(&v2(0x21, 0x00, &[&tlv(3, &[0; 4])]), WrongChecksum);
    let twice = checked(v2(0x21, 0x11, &[IPV4, &tlv(3, &[0; 4]), &tlv(3, &[0; 4])]));
    rejects(&twice, WrongChecksum);
}

/// Puts the checksum into the first TLV that is for one and holds zeros.
fn checked(mut bytes: Vec<u8>) -> Vec<u8> {
    let checksum = crc32c(&bytes).to_be_bytes();
    let at = bytes.windows(7).rposition(|window| *window == [3, 0, 4, 0, 0, 0, 0]).expect("there is one") + 3;
    bytes[at..at + 4].copy_from_slice(&checksum);
    bytes
}

// Addresses.

#[test]
fn an_ipv4_address_written_as_ipv6_is_an_ipv4_address() {
    let client = inet("192.0.2.1:1", "198.51.100.7:2");
    accepts(b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:c633:6407 1 2\r\n", client);
    let mapped = |ip: &[u8]| [&[0; 10], &[0xFF; 2][..], ip].concat();
    accepts(&v2(0x21, 0x21, &[&mapped(&IPV4[..4]), &mapped(&IPV4[4..8]), &[0, 1, 0, 2]]), client);
    accepts(b"PROXY TCP6 ::192.0.2.1 ::1 1 2\r\n", inet("[::c000:201]:1", "[::1]:2"));
}

#[test]
fn the_client_is_the_proxy_itself_or_somebody_or_unknown() {
    let proxy = Address::from(([10, 0, 0, 1], 40000));
    assert_eq!(ProxyAddresses::Local.client(proxy), proxy);
    assert_eq!(ProxyAddresses::Unknown.client(proxy), Address::Unknown);
    assert_eq!(inet("192.0.2.1:1", "10.0.0.2:7").client(proxy).to_string(), "192.0.2.1:1");
}

#[test]
fn an_error_is_told_without_what_was_sent() {
    assert_eq!(ProxyHeader::parse(b"\x1B[2J").unwrap_err().to_string(), "no PROXY header");
}

#[test]
fn the_second_header_is_not_looked_at() {
    let (_, length) = ProxyHeader::parse(b"PROXY UNKNOWN\r\nPROXY UNKNOWN\r\n").unwrap().unwrap();
    assert_eq!(length, 15);
}

// Any bytes.

#[test]
fn the_corpus_holds() {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/proxy/corpus");
    let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
    assert!(!files.is_empty());
    files.iter().for_each(|file| holds(&std::fs::read(file).unwrap()));
}

/// Goes on with bytes that are allowed, one at a time, until there is a header.
#[track_caller]
fn complete(mut bytes: Vec<u8>) {
    // What leads to an end comes first.
    let preferred = b"\n\r .:0N\0".iter().copied();
    while let Ok(None) = ProxyHeader::parse(&bytes) {
        let mut next = preferred.clone().chain(0..=u8::MAX);
        let with = |byte: u8| [&bytes[..], &[byte]].concat();
        let next = next.find(|byte| ProxyHeader::parse(&with(*byte)).is_ok());
        bytes.push(next.unwrap_or_else(|| panic!("{bytes:?} has nowhere to go and is no error")));
    }
    assert!(matches!(ProxyHeader::parse(&bytes), Ok(Some(_))));
}

fn ip() -> impl Strategy<Value = IpAddr> {
    let sparse = vec(prop_oneof![3 => Just(0_u16), 1 => any::<u16>()], 8);
    let sparse = sparse.prop_map(|groups| Ipv6Addr::from(<[u16; 8]>::try_from(groups).expect("there are eight")));
    prop_oneof![
        any::<[u8; 4]>().prop_map(IpAddr::from),
        any::<[u8; 16]>().prop_map(IpAddr::from),
        sparse.prop_map(IpAddr::from),
        any::<[u8; 4]>().prop_map(|ip| Ipv4Addr::from(ip).to_ipv6_mapped().into()),
    ]
}

fn endpoints() -> impl Strategy<Value = (SocketAddr, SocketAddr)> {
    (ip(), ip(), any::<(u16, u16)>()).prop_filter_map("one family", |(source, destination, ports)| {
        let same = source.is_ipv4() == destination.is_ipv4();
        same.then(|| (SocketAddr::new(source, ports.0), SocketAddr::new(destination, ports.1)))
    })
}

fn some_tlvs() -> impl Strategy<Value = Vec<(u8, Vec<u8>)>> {
    let kind =
        prop_oneof![Just(1_u8), Just(4), Just(5), Just(0x20), 0xE0..=0xEF_u8, any::<u8>().prop_filter("", |k| *k != 3)];
    vec((kind, vec(any::<u8>(), 0..40)), 0..5)
}

/// What is nearly a header.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let line = "PROXY (TCP4|TCP6|UNKNOWN) ([0-9.]{1,9}|[0-9a-f:]{1,9}|1.2.3.4|::1|::f:1.2) (1.2.3.4|::1) \
                [0-9+]{1,6} [0-9]{1,6}\r?\n?.{0,9}";
    let family = prop_oneof![Just(0_u8), Just(0x11), Just(0x12), Just(0x21), Just(0x31), any::<u8>()];
    let block = prop_oneof![
        vec(prop_oneof![Just(0_u8), 0..8_u8, any::<u8>()], 0..60),
        some_tlvs().prop_map(|tlvs| tlvs.iter().flat_map(|(kind, value)| tlv(*kind, value)).collect()),
    ];
    let binary =
        (0x20..=0x22_u8, family, 0..60_u16, any::<bool>(), block).prop_map(|(command, family, length, fits, block)| {
            let addresses = [0; 216];
            let addresses = &addresses[..[0, 12, 36, 216].get(usize::from(family >> 4)).copied().unwrap_or(0)];
            let mut bytes = v2(command, family, &[addresses, &block]);
            if !fits {
                bytes[14..16].copy_from_slice(&length.to_be_bytes());
            }
            bytes
        });
    prop_oneof![line.prop_map(String::into_bytes), binary]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn what_another_implementation_writes_is_read_as_it_was_meant(
        (source, destination) in endpoints(),
        tlvs in some_tlvs(),
        behind in vec(any::<u8>(), 0..40),
    ) {
        let canonical = |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let addresses = ProxyAddresses::Inet { source: canonical(source), destination: canonical(destination) };
        let mut other = Other::with_address(ProxiedAddress::stream(source, destination));
        let mut bytes = Vec::new();
        other.encode_v1(&mut bytes).unwrap();
        let header = accepts(&bytes, addresses);
        prop_assert_eq!(header.tlvs.iter().count(), 0);

        tlvs.iter().for_each(|(kind, value)| other.append_tlv(Tlv::Custom(*kind, value.into())));
        bytes.clear();
        other.encode_v2(&mut bytes).unwrap();
        let length = bytes.len();
        bytes.extend(behind);
        let (header, found) = parse_cut_anywhere(&bytes).unwrap().unwrap();
        prop_assert_eq!((header.addresses, found), (addresses, length));
        let expected: Vec<_> = tlvs.iter().filter(|tlv| tlv.0 != 4).map(|(kind, value)| (*kind, &value[..])).collect();
        prop_assert_eq!(header.tlvs.iter().collect::<Vec<_>>(), expected);
        holds(&bytes);
    }

    #[test]
    fn any_bytes_hold(bytes in vec(any::<u8>(), 0..300), is_v2 in any::<bool>()) {
        holds(&bytes);
        holds(&[if is_v2 { SIGNATURE } else { b"PROXY " }, &bytes].concat());
    }

    #[test]
    fn what_is_nearly_a_header_holds(bytes in nearly(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
        holds(&bytes);
        let mut bytes = bytes;
        let at = at.index(bytes.len());
        bytes[at] = byte;
        holds(&bytes);
        bytes.remove(at);
        holds(&bytes);
    }

    /// Not of checksums, which show at the end, and not of lines that are too long.
    #[test]
    fn what_is_incomplete_can_become_a_header(bytes in nearly(), at in any::<prop::sample::Index>()) {
        let start = &bytes[..at.index(bytes.len()).min(80)];
        if parse_cut_anywhere(start) == Ok(None) && !(start.contains(&3) && start.starts_with(b"\r")) {
            complete(start.to_vec());
        }
    }
}

#[test]
fn every_start_of_a_line_can_become_a_header() {
    for line in ["TCP4 255.0.19.200 1.2.3.4 65535 0", "TCP6 1:22:333:4444:5:6:7:8 a::1.2.30.4 0 1", "UNKNOWN"] {
        let line = format!("PROXY {line}\r\n");
        for end in 0..line.len() {
            assert_eq!(ProxyHeader::parse(&line.as_bytes()[..end]), Ok(None));
            complete(line.as_bytes()[..end].to_vec());
        }
    }
}
