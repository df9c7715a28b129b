//! TLS to a real server. The trusted certificates come from the environment, so each trial runs in
//! a separate process.

use std::{env, fs, process::Command};

use fleet_tests::{Kind, Server};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use turris_auth::fleet::{AcquireAsk, Answer, RedisStore, SharedStore};

use super::slot;

const URL: &str = "TLS_TEST_URL";

fn authority() -> (String, Issuer<'static, KeyPair>) {
    let mut authority = CertificateParams::new([]).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let key = KeyPair::generate().unwrap();
    let root = authority.self_signed(&key).unwrap().pem();
    (root, Issuer::new(authority, key))
}

/// Whether a process that trusts only `root` gets an answer from the server.
fn is_reached(server: &Server, root: &str) -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), root).unwrap();
    let mut child = Command::new(env::current_exe().unwrap());
    child.args(["--exact", "tls::a_store_is_reached_over_tls"]);
    child.env(URL, server.url()).env("SSL_CERT_FILE", file.path()).env_remove("SSL_CERT_DIR");
    child.output().unwrap().status.success()
}

#[tokio::test]
async fn a_store_is_reached_over_tls() {
    if let Ok(url) = env::var(URL) {
        let acquired = RedisStore::open(&url).unwrap().acquire(&slot(), &AcquireAsk::new(1)).await.unwrap();
        assert!(matches!(acquired.answer, Answer::Lease { .. }));
        return;
    }
    let (root, issuer) = authority();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let server = Server::start_tls(Kind::Redis, &certificate.pem(), &key.serialize_pem());
    assert!(is_reached(&server, &root));
    assert!(!is_reached(&server, &authority().0), "a server with the certificate of a stranger was trusted");
}
