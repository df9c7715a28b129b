//! A server's process, and the guard that ends it.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// How long a server may take to listen, or to end, before the test fails.
const TIME_LIMIT: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(10);

/// A process that ends with this guard, together with its children.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` in its own process group, with its output in `log`.
    ///
    /// # Panics
    ///
    /// If the program is not installed. The message contains `install`, the command that installs
    /// it.
    pub fn start(command: &mut Command, log: &Path, install: &str) -> Self {
        let output = File::create(log).unwrap();
        Self::spawn(command.stdout(output.try_clone().unwrap()).stderr(output), install)
    }

    /// Starts a program that prints one line when it is ready, and returns the line. The line is
    /// empty if the program ended.
    ///
    /// # Panics
    ///
    /// If the program is not installed. The message contains `install`, the command that installs
    /// it.
    pub fn start_and_read_line(command: &mut Command, log: &Path, install: &str) -> (Self, String) {
        let mut process = Self::spawn(command.stdout(Stdio::piped()).stderr(File::create(log).unwrap()), install);
        let mut line = String::new();
        BufReader::new(process.child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (process, line)
    }

    fn spawn(command: &mut Command, install: &str) -> Self {
        match command.stdin(Stdio::null()).process_group(0).spawn() {
            Ok(child) => Self { child },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                panic!("{} is not installed. Install it with `{install}`", command.get_program().display())
            }
            Err(error) => panic!("{}: {error}", command.get_program().display()),
        }
    }

    /// Sends a signal to the process, but not to its children.
    ///
    /// # Panics
    ///
    /// If the process has ended.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends the process by `SIGTERM` and waits for its end.
    ///
    /// # Panics
    ///
    /// If the process does not end.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert!(self.ended_in_time().is_some(), "the server does not end");
    }

    /// Waits until the process listens on all `addresses`. Returns `false` if it ended earlier.
    ///
    /// # Panics
    ///
    /// If the process neither listens nor ends.
    #[must_use]
    pub fn listens_on(&mut self, addresses: &[SocketAddr]) -> bool {
        let begun = Instant::now();
        loop {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if addresses.iter().all(|address| TcpStream::connect(address).is_ok()) {
                return true;
            }
            assert!(begun.elapsed() < TIME_LIMIT, "the server does not listen on {addresses:?}");
            thread::sleep(PAUSE);
        }
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    fn ended_in_time(&mut self) -> Option<ExitStatus> {
        let begun = Instant::now();
        while begun.elapsed() < TIME_LIMIT {
            if let Some(status) = self.child.try_wait().unwrap() {
                return Some(status);
            }
            thread::sleep(PAUSE);
        }
        None
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_some()) {
            return;
        }
        // A master ends its workers after SIGTERM, but leaves them behind after SIGKILL.
        let _ = kill_process(self.pid(), Signal::TERM);
        if self.ended_in_time().is_none() {
            let _ = kill_process_group(self.pid(), Signal::KILL);
            let _ = self.child.wait();
        }
    }
}

/// Returns loopback addresses whose ports were free just now.
///
/// Another process can take a port before the server binds it, so the caller must start again if
/// its server does not start.
#[must_use]
pub fn free_addresses<const COUNT: usize>() -> [SocketAddr; COUNT] {
    let listeners = [(); COUNT].map(|()| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    listeners.map(|listener| listener.local_addr().unwrap())
}

/// Starts a server. Tries several times if the server ends at once, because another process may
/// have taken one of its ports.
///
/// `start` returns the server's process, the addresses on which it will listen, and a value that
/// belongs to it. `log` is the file in which the server explains its end.
///
/// # Panics
///
/// If the server never starts. The message contains its log.
pub fn start_on_free_ports<T>(log: &Path, mut start: impl FnMut() -> (Process, Vec<SocketAddr>, T)) -> (Process, T) {
    const ATTEMPTS: usize = 5;
    for _ in 0..ATTEMPTS {
        let (mut process, addresses, rest) = start();
        if process.listens_on(&addresses) {
            return (process, rest);
        }
    }
    panic!("the server does not start: {}", fs::read_to_string(log).unwrap_or_default())
}
