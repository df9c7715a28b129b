//! A client that blocks its thread. It awaits nothing, so that tokio's paused clock stands still
//! during a call.

use std::{
    io::{BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use fleet_tests::Server;
use turris_auth::{
    BoxError,
    fleet::{RunScript, Script, ScriptReply, StoreFuture},
};

/// Runs scripts at the time that the test sets, instead of the server's time.
pub(crate) struct Blocking {
    stream: Mutex<BufReader<UnixStream>>,
    /// In milliseconds. Zero for the server's own time.
    pub time: Arc<AtomicU64>,
}

impl Blocking {
    pub(crate) fn connect(server: &Server) -> Self {
        let stream = UnixStream::connect(server.socket()).expect("the server listens");
        Self { stream: Mutex::new(BufReader::new(stream)), time: Arc::default() }
    }

    /// Sends one command and reads its answer.
    pub(crate) fn command(&self, parts: &[&[u8]]) -> Result<Vec<Vec<u8>>, String> {
        let mut stream = self.stream.lock().unwrap();
        let mut bytes = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            bytes.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
            bytes.extend_from_slice(part);
            bytes.extend_from_slice(b"\r\n");
        }
        stream.get_mut().write_all(&bytes).unwrap();
        read(&mut stream)
    }
}

fn read(stream: &mut BufReader<UnixStream>) -> Result<Vec<Vec<u8>>, String> {
    let mut line = String::new();
    stream.read_line(&mut line).unwrap();
    let (kind, rest) = line.trim_end().split_at(1);
    match kind {
        "-" => Err(rest.to_owned()),
        "+" | ":" => Ok(vec![rest.as_bytes().to_vec()]),
        "$" => {
            let Ok(length) = rest.parse::<usize>() else { return Ok(vec![Vec::new()]) };
            let mut bytes = vec![0; length + 2];
            stream.read_exact(&mut bytes).unwrap();
            bytes.truncate(length);
            Ok(vec![bytes])
        }
        "*" => {
            let mut parts = Vec::new();
            for _ in 0..rest.parse::<usize>().unwrap() {
                parts.extend(read(stream)?);
            }
            Ok(parts)
        }
        other => panic!("an answer that begins with {other}"),
    }
}

impl RunScript for Blocking {
    fn run<'a>(&'a self, script: &'a Script, keys: &'a [String], args: &'a [Vec<u8>]) -> StoreFuture<'a, ScriptReply> {
        let time = self.time.load(Ordering::Relaxed).to_string();
        let call = |command: &[u8], script: &str| {
            let count = keys.len().to_string();
            let mut parts = vec![command, script.as_bytes(), count.as_bytes()];
            parts.extend(keys.iter().map(|key| key.as_bytes()));
            parts.push(time.as_bytes());
            parts.extend(args.iter().skip(1).map(Vec::as_slice));
            self.command(&parts)
        };
        let reply = match call(b"EVALSHA", script.sha1()) {
            Err(error) if error.starts_with("NOSCRIPT") => call(b"EVAL", script.source()),
            reply => reply,
        };
        Box::pin(std::future::ready(reply.map_err(BoxError::from)))
    }
}
