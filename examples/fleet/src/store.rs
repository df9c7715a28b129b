//! The store: a real server on a loopback port. It can be killed and started again.

use std::{
    env, io,
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    process::{Child, Command},
    time::{Instant, sleep},
};
use turris_auth::BoxError;

const NOT_INSTALLED: &str = "neither `redis-server` nor `valkey-server` is installed. Install one of them \
    (`apt-get install redis-server`, `brew install redis`, `dnf install valkey`), or name the program in REDIS_SERVER";

/// How long a server may take until it listens.
const LONGEST_START: Duration = Duration::from_secs(20);

pub(crate) struct Store {
    pub(crate) program: String,
    address: SocketAddr,
    child: Child,
}

impl Store {
    pub(crate) async fn start() -> Result<Self, BoxError> {
        // The port is free again after the listener is dropped.
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?.local_addr()?;
        let named = ["REDIS_SERVER", "VALKEY_SERVER"].into_iter().filter_map(|variable| env::var(variable).ok());
        let programs = named.chain(["redis-server".to_owned(), "valkey-server".to_owned()]);
        for program in programs {
            match spawn(&program, address) {
                Ok(child) => {
                    let store = Self { program, address, child };
                    store.listens().await?;
                    return Ok(store);
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(format!("`{program}` cannot be started: {error}").into()),
            }
        }
        Err(NOT_INSTALLED.into())
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Kills the server.
    pub(crate) async fn kill(&mut self) -> io::Result<()> {
        self.child.kill().await
    }

    /// Starts the server again at the same address, without its contents.
    pub(crate) async fn restart(&mut self) -> Result<(), BoxError> {
        self.child = spawn(&self.program, self.address)?;
        self.listens().await
    }

    /// Returns the number of keys in the server.
    pub(crate) async fn keys(&self) -> Result<u64, BoxError> {
        let mut connection = TcpStream::connect(self.address).await?;
        connection.write_all(b"DBSIZE\r\n").await?;
        let mut answer = [0; 32];
        let length = connection.read(&mut answer).await?;
        let answer = String::from_utf8_lossy(answer.get(..length).unwrap_or_default());
        let count = answer.strip_prefix(':').and_then(|rest| rest.trim_end().parse().ok());
        count.ok_or_else(|| format!("unexpected answer of the store: {answer}").into())
    }

    async fn listens(&self) -> Result<(), BoxError> {
        let started = Instant::now();
        while TcpStream::connect(self.address).await.is_err() {
            if started.elapsed() > LONGEST_START {
                return Err(format!("`{}` does not listen at {}", self.program, self.address).into());
            }
            sleep(Duration::from_millis(10)).await;
        }
        Ok(())
    }
}

fn spawn(program: &str, address: SocketAddr) -> io::Result<Child> {
    Command::new(program)
        .current_dir(env::temp_dir())
        .args(["--save", "", "--appendonly", "no", "--bind", "127.0.0.1", "--port", &address.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .kill_on_drop(true)
        .spawn()
}
