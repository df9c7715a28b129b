//! HAProxy in front of an upstream.

use std::{fs, net::SocketAddr, process::Command};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use turris_auth::Environment;

use crate::{
    certificates::Certificates,
    client::Protocol,
    nginx::base_url,
    process::{Process, free_addresses, start_on_free_ports},
};

/// The command that installs it.
pub const INSTALL: &str = "apt-get install haproxy";

/// A running HAProxy that proxies to an upstream on three ports, one for each [`Protocol`].
#[derive(Debug)]
pub struct Haproxy {
    process: Process,
    _folder: TempDir,
    addresses: [SocketAddr; 3],
    certificates: Certificates,
}

impl Haproxy {
    /// Starts HAProxy in front of `upstream`, with `frontend` among the directives of its frontend.
    ///
    /// # Panics
    ///
    /// If HAProxy is not installed or does not start.
    #[must_use]
    pub fn start(upstream: SocketAddr, frontend: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("haproxy-").tempdir().unwrap();
        let certificates = Certificates::new();
        let bundle = folder.path().join("server.pem");
        fs::write(&bundle, format!("{}{}", certificates.server_certificate, certificates.server_key)).unwrap();
        let settings = folder.path().join("haproxy.cfg");
        let log = folder.path().join("log");
        let (process, addresses) = start_on_free_ports(&log, || {
            let addresses = free_addresses();
            let [http1, http2, http2_over_tls] = addresses;
            let text = format!(
                "
global
    maxconn 512
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
frontend api
    bind {http1}
    bind {http2} proto h2
    bind {http2_over_tls} ssl crt {} alpn h2,http/1.1
    {frontend}
    default_backend upstream
backend upstream
    server turris {upstream}
",
                bundle.display()
            );
            fs::write(&settings, text).unwrap();
            // A master with a worker, like the service of the Debian package.
            let mut command = Command::new("haproxy");
            command.arg("-W").arg("-f").arg(&settings);
            (Process::start(&mut command, &log, INSTALL), addresses.to_vec(), addresses)
        });
        Self { process, _folder: folder, addresses, certificates }
    }

    /// Returns the root that clients have to trust.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.certificates.root
    }

    /// Returns the environment in which this server is Turris.
    #[must_use]
    pub fn environment(&self, protocol: Protocol) -> Environment {
        Environment::custom(base_url(self.addresses, protocol)).unwrap()
    }

    /// Starts a new worker. The old worker ends when its connections end.
    ///
    /// # Panics
    ///
    /// If HAProxy has ended.
    pub fn reload(&self) {
        self.process.signal(Signal::USR2);
    }
}
