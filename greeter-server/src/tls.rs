//! TLS: ciphertext into plaintext and back, between a client's state machine and its socket. Must
//! not know lines.

pub(crate) mod record;
#[cfg(feature = "tls")]
pub(crate) mod rustls_session;
pub(crate) mod session;
#[cfg(feature = "tls")]
pub(crate) mod settings;
pub(crate) mod stream;

#[cfg(all(test, not(loom), feature = "tls"))]
#[path = "../tests/tls/property.rs"]
mod property;

#[cfg(all(test, not(loom), feature = "tls"))]
mod tests {
    use super::property::holds;
    use proptest::collection::vec;
    use proptest::prelude::*;

    /// All is delivered, read and heard, there and back, as often as a handshake takes.
    const HANDSHAKE: &[u8] = &[7, 19, 5, 255, 7, 19, 5, 255, 7, 19];

    #[test]
    fn the_corpus_holds() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/tls/corpus");
        let files: Vec<_> = std::fs::read_dir(corpus).unwrap().map(|file| file.unwrap().path()).collect();
        assert!(!files.is_empty());
        files.iter().for_each(|file| holds(&std::fs::read(file).unwrap()));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(300))]

        #[test]
        fn whatever_arrives_plaintext_is_what_the_client_said(
            options in any::<[u8; 2]>(),
            has_handshake in any::<bool>(),
            steps in vec(any::<u8>(), 0..300),
        ) {
            let handshake = if has_handshake { HANDSHAKE } else { &[] };
            holds(&[&options[..], handshake, &steps].concat());
        }
    }
}
