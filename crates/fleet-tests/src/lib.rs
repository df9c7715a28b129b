//! Servers for the tests of a fleet. Each test starts its own server on a unix socket or a loopback
//! port, and ends it by its process id.

#![allow(clippy::expect_used, clippy::panic, reason = "a panic in a fixture fails the test, as it should")]

use std::{
    env,
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// The kinds of server with which a store is tested.
pub const KINDS: [Kind; 2] = [Kind::Redis, Kind::Valkey];

/// One kind of server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `redis-server`, or the program that the environment variable `REDIS_SERVER` names.
    Redis,
    /// `valkey-server`, or the program that the environment variable `VALKEY_SERVER` names.
    Valkey,
}

impl Kind {
    fn program(self) -> String {
        let (variable, name) = match self {
            Self::Redis => ("REDIS_SERVER", "redis-server"),
            Self::Valkey => ("VALKEY_SERVER", "valkey-server"),
        };
        env::var(variable).unwrap_or_else(|_| name.to_owned())
    }
}

/// The address of a server.
#[derive(Clone, Debug)]
enum Address {
    Unix(PathBuf),
    Tcp(u16),
    Tls(u16),
}

/// A server that runs until it is dropped.
#[derive(Debug)]
pub struct Server {
    kind: Kind,
    address: Address,
    folder: tempfile::TempDir,
    child: Child,
}

impl Server {
    /// Starts a server on a unix socket.
    ///
    /// # Panics
    ///
    /// If the server cannot be started: a test without its server fails.
    pub fn start(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let address = Address::Unix(folder.path().join("s"));
        Self::start_at(kind, folder, address)
    }

    /// Starts a server on a loopback port.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_tcp(kind: Kind) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        Self::start_at(kind, folder, Address::Tcp(free_port()))
    }

    /// Starts a server that accepts only TLS, on a loopback port. `certificate` and `key` are PEM.
    ///
    /// # Panics
    ///
    /// As [`start`](Self::start).
    pub fn start_tls(kind: Kind, certificate: &str, key: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        for (name, text) in [(CERTIFICATE, certificate), (KEY, key)] {
            std::fs::write(folder.path().join(name), text).expect("a file in that folder");
        }
        Self::start_at(kind, folder, Address::Tls(free_port()))
    }

    fn start_at(kind: Kind, folder: tempfile::TempDir, address: Address) -> Self {
        let child = spawn(kind, &folder, &address);
        let server = Self { kind, address, folder, child };
        server.await_start();
        server
    }

    fn await_start(&self) {
        let started = Instant::now();
        while !self.accepts() {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{:?} does not listen at {:?}",
                self.kind,
                self.address
            );
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn accepts(&self) -> bool {
        match &self.address {
            Address::Unix(path) => UnixStream::connect(path).is_ok(),
            Address::Tcp(port) | Address::Tls(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
        }
    }

    /// The URL of the server.
    pub fn url(&self) -> String {
        match &self.address {
            Address::Unix(path) => format!("redis+unix://{}", path.display()),
            Address::Tcp(port) => format!("redis://127.0.0.1:{port}"),
            Address::Tls(port) => format!("rediss://127.0.0.1:{port}"),
        }
    }

    /// The path of the unix socket.
    ///
    /// # Panics
    ///
    /// If the server listens on a port.
    pub fn socket(&self) -> PathBuf {
        match &self.address {
            Address::Unix(path) => path.clone(),
            Address::Tcp(_) | Address::Tls(_) => panic!("this server listens on a port"),
        }
    }

    /// The loopback port of the server.
    ///
    /// # Panics
    ///
    /// If the server listens on a socket.
    pub fn port(&self) -> u16 {
        match &self.address {
            Address::Tcp(port) | Address::Tls(port) => *port,
            Address::Unix(_) => panic!("this server listens on a socket"),
        }
    }

    /// Freezes the server: it keeps its connections, but answers nothing.
    pub fn freeze(&self) {
        signal(self.child.id(), "STOP");
    }

    /// Lets a frozen server continue.
    pub fn thaw(&self) {
        signal(self.child.id(), "CONT");
    }

    /// Kills the server, so that it cannot close its connections first.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Starts the server again at the same address, without its contents.
    pub fn restart(&mut self) {
        self.kill();
        if let Address::Unix(path) = &self.address {
            let _ = std::fs::remove_file(path);
        }
        self.child = spawn(self.kind, &self.folder, &self.address);
        self.await_start();
    }
}

const CERTIFICATE: &str = "certificate.pem";
const KEY: &str = "key.pem";

fn free_port() -> u16 {
    let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    address.expect("a free port").port()
}

fn spawn(kind: Kind, folder: &tempfile::TempDir, address: &Address) -> Child {
    let program = kind.program();
    let mut command = Command::new(&program);
    command.current_dir(folder.path()).args(["--save", "", "--appendonly", "no", "--loglevel", "warning"]);
    match address {
        Address::Unix(path) => command.args(["--port", "0", "--unixsocket"]).arg(path),
        Address::Tcp(port) => command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]),
        Address::Tls(port) => command
            .args(["--bind", "127.0.0.1", "--port", "0", "--tls-port", &port.to_string()])
            .args(["--tls-cert-file", CERTIFICATE, "--tls-key-file", KEY, "--tls-auth-clients", "no"]),
    };
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    child.unwrap_or_else(|error| {
        panic!("`{program}` cannot be started ({error}): install it, or name it in REDIS_SERVER or VALKEY_SERVER")
    })
}

fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status();
    assert!(status.is_ok_and(|status| status.success()), "signal {name}");
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
