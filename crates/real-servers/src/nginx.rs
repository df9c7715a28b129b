//! nginx in front of an upstream.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, path::Path, process::Command};

use rustix::process::Signal;
use rustls::pki_types::CertificateDer;
use tempfile::TempDir;
use turris_auth::Environment;

use crate::{
    certificates::Certificates,
    client::Protocol,
    process::{Process, free_addresses, start_on_free_ports},
};

/// The command that installs it.
pub const INSTALL: &str = "apt-get install nginx";

/// A running nginx that proxies to an upstream on three ports, one for each [`Protocol`].
#[derive(Debug)]
pub struct Nginx {
    /// `None` while it is stopped.
    process: Option<Process>,
    folder: TempDir,
    addresses: [SocketAddr; 3],
    certificates: Certificates,
}

impl Nginx {
    /// Starts nginx in front of `upstream`, with `http` among the directives of its `http` block.
    /// `location` is added to its only `location` block, in addition to `proxy_pass`.
    ///
    /// # Panics
    ///
    /// If nginx is not installed or does not start.
    #[must_use]
    pub fn start(upstream: SocketAddr, http: &str, location: &str) -> Self {
        // If root starts the master, its workers run as another user.
        let folder =
            tempfile::Builder::new().prefix("nginx-").permissions(fs::Permissions::from_mode(0o755)).tempdir().unwrap();
        let certificates = Certificates::new();
        fs::write(folder.path().join("server.pem"), &certificates.server_certificate).unwrap();
        fs::write(folder.path().join("server.key"), &certificates.server_key).unwrap();
        let (process, addresses) = start_on_free_ports(&folder.path().join("log"), || {
            let addresses = free_addresses();
            fs::write(folder.path().join("nginx.conf"), configuration(addresses, upstream, http, location)).unwrap();
            (start(folder.path()), addresses.to_vec(), addresses)
        });
        Self { process: Some(process), folder, addresses, certificates }
    }

    /// Returns the root that clients have to trust.
    #[must_use]
    pub fn root(&self) -> &CertificateDer<'static> {
        &self.certificates.root
    }

    /// Returns the environment in which this server is Turris.
    #[must_use]
    pub fn environment(&self, protocol: Protocol) -> Environment {
        Environment::custom(crate::nginx::base_url(self.addresses, protocol)).unwrap()
    }

    /// Reloads nginx like `nginx -s reload`: new workers start, and the old workers end gracefully.
    ///
    /// # Panics
    ///
    /// If nginx is stopped.
    pub fn reload(&self) {
        self.process.as_ref().expect("a running nginx").signal(Signal::HUP);
    }

    /// Ends nginx at once, even with requests in flight.
    ///
    /// # Panics
    ///
    /// If nginx is stopped already, or does not end.
    pub fn stop(&mut self) {
        self.process.take().expect("a running nginx").stop();
    }

    /// Starts nginx again, on the same ports.
    ///
    /// # Panics
    ///
    /// If nginx does not start.
    pub fn start_again(&mut self) {
        let mut process = start(self.folder.path());
        assert!(process.listens_on(&self.addresses), "{}", self.log());
        self.process = Some(process);
    }

    /// Returns the log.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
}

/// Returns the base URL on the port for `protocol`.
pub(crate) fn base_url([http1, http2, http2_over_tls]: [SocketAddr; 3], protocol: Protocol) -> String {
    match protocol {
        Protocol::Http1 => format!("http://{http1}"),
        Protocol::Http2 => format!("http://{http2}"),
        Protocol::Http2OverTls => format!("https://{http2_over_tls}"),
    }
}

fn start(folder: &Path) -> Process {
    let mut command = Command::new("nginx");
    command.arg("-p").arg(folder).args(["-c", "nginx.conf", "-e", "stderr", "-g", "daemon off;"]);
    Process::start(&mut command, &folder.join("log"), INSTALL)
}

fn configuration(addresses: [SocketAddr; 3], upstream: SocketAddr, http: &str, location: &str) -> String {
    let [http1, http2, http2_over_tls] = addresses;
    format!(
        "
pid nginx.pid;
error_log stderr notice;
worker_processes 2;
# Old workers end after a reload even if a request is never answered.
worker_shutdown_timeout 1s;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path client_body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    {http}
    server {{
        listen {http1};
        listen {http2} http2;
        listen {http2_over_tls} ssl http2;
        ssl_certificate server.pem;
        ssl_certificate_key server.key;
        location / {{
            proxy_pass http://{upstream};
            {location}
        }}
    }}
}}
"
    )
}
