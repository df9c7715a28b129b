//! The emulator on a loopback port.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::TcpListener,
    select,
    sync::watch,
    task::{JoinHandle, JoinSet},
    time::sleep,
};

use crate::{connection, state::Shared};

/// The accept loop and its connections. They end when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    // Shared with the accept loop, so that the port is free as soon as the server is dropped.
    // Otherwise it would stay bound until the runtime runs the task of the loop.
    listener: Arc<Mutex<Option<TcpListener>>>,
    goodbye: watch::Sender<()>,
    stop: watch::Sender<()>,
    accepting: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(shared: Arc<Shared>, port: u16) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        let address = listener.local_addr()?;
        let listener = Arc::new(Mutex::new(Some(listener)));
        let goodbye = watch::Sender::new(());
        let stop = watch::Sender::new(());
        let accepting = tokio::spawn(accept(Arc::clone(&listener), shared, goodbye.clone(), stop.subscribe()));
        Ok(Self { address, listener, goodbye, stop, accepting })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn close_connections(&self) {
        self.goodbye.send_replace(());
    }

    pub(crate) async fn shutdown(mut self) {
        self.stop();
        // An error means that the task ended with its runtime, so there is nothing to wait for.
        let _ = (&mut self.accepting).await;
    }

    fn stop(&self) {
        self.listener.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.stop.send_replace(());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn accept(
    listener: Arc<Mutex<Option<TcpListener>>>,
    shared: Arc<Shared>,
    goodbye: watch::Sender<()>,
    mut stop: watch::Receiver<()>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = poll_fn(|context| {
            match &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(listener) => listener.poll_accept(context),
                // A closed port does not wake this task. `stop` wakes it.
                None => Poll::Pending,
            }
        });
        select! {
            accepted = accepted => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(connection::serve(stream, Arc::clone(&shared), goodbye.subscribe()));
                }
                // The usual cause is a lack of file descriptors. Connections have to end before the
                // next one can be accepted.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
            _ = stop.changed() => break,
        }
    }
    connections.shutdown().await;
}
