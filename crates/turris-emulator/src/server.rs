//! The emulator on a loopback port.

use std::{
    future::poll_fn,
    io,
    net::{Ipv4Addr, SocketAddr},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    task::Poll,
    time::Duration,
};

use tokio::{
    net::TcpListener,
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
    let mut stop = pin!(stop.changed());
    loop {
        let accepted = poll_fn(|context| {
            if stop.as_mut().poll(context).is_ready() {
                return Poll::Ready(None);
            }
            while let Poll::Ready(Some(_)) = connections.poll_join_next(context) {}
            match &*listener.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(listener) => listener.poll_accept(context).map(Some),
                // A closed port does not wake this task. `stop` wakes it.
                None => Poll::Pending,
            }
        });
        match accepted.await {
            None => break,
            Some(Ok((stream, _))) => {
                connections.spawn(connection::serve(stream, Arc::clone(&shared), goodbye.subscribe()));
            }
            // The usual cause is a lack of file descriptors. Connections have to end before the
            // next one can be accepted.
            Some(Err(_)) => sleep(Duration::from_millis(10)).await,
        }
    }
    connections.shutdown().await;
}
