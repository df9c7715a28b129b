//! A certificate authority for one test, and the certificate that it signed.

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

/// A root that clients trust, and the certificate of a server at `127.0.0.1` that it signed.
#[derive(Debug)]
pub struct Certificates {
    /// The root.
    pub root: CertificateDer<'static>,
    /// The server's certificate, as PEM.
    pub server_certificate: String,
    /// The server's private key, as PEM.
    pub server_key: String,
}

impl Certificates {
    /// Creates a new authority and signs a certificate with it.
    #[must_use]
    pub fn new() -> Self {
        let mut authority = CertificateParams::new([]).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let authority_key = KeyPair::generate().unwrap();
        let root = authority.self_signed(&authority_key).unwrap().der().clone();
        let issuer = Issuer::new(authority, authority_key);

        let server_key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let server_certificate = server.signed_by(&server_key, &issuer).unwrap().pem();
        Self { root, server_certificate, server_key: server_key.serialize_pem() }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self::new()
    }
}
