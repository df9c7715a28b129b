//! TLS in front of an emulator, and a client that trusts its certificate.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use http::Version;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ClientConfig, RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    },
};
use turris_auth::{Environment, TurrisAuthLayer};
use turris_emulator::Emulator;
use turris_test_support::EmulatorExt;

/// A front that ends TLS and forwards the bytes to the emulator, which recognises the version of
/// HTTP by the bytes.
pub(crate) struct TlsFront {
    address: SocketAddr,
    pub(crate) certificate: CertificateDer<'static>,
    connections: Arc<AtomicUsize>,
    serving: JoinHandle<()>,
}

impl TlsFront {
    pub(crate) async fn start(emulator: &Emulator) -> Self {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let certificate = cert.der().clone();
        let key = PrivatePkcs8KeyDer::from(signing_key.serialize_der());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.clone()], key.into())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let port = emulator.address().unwrap().port();
        let accepted = Arc::clone(&connections);
        let serving = tokio::spawn(async move {
            // All connections end with this task.
            let mut open = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                accepted.fetch_add(1, Ordering::SeqCst);
                open.spawn(forward(acceptor.clone(), stream, port));
            }
        });
        Self { address, certificate, connections, serving }
    }

    /// Returns how many connections clients have opened so far.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn environment(&self) -> Environment {
        Environment::custom(format!("https://{}", self.address)).unwrap()
    }

    pub(crate) fn layer(&self, emulator: &Emulator) -> TurrisAuthLayer {
        TurrisAuthLayer::new(emulator.credentials(), self.environment())
    }

    /// Creates a client that offers only this version.
    pub(crate) fn client<B>(&self, version: Version) -> Client<HttpsConnector<HttpConnector>, B>
    where
        B: http_body::Body + Send,
        B::Data: Send,
    {
        let mut roots = RootCertStore::empty();
        roots.add(self.certificate.clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(config).https_only();
        let connector = match version {
            Version::HTTP_2 => connector.enable_http2().build(),
            _ => connector.enable_http1().build(),
        };
        Client::builder(TokioExecutor::new()).build(connector)
    }
}

impl Drop for TlsFront {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn forward(acceptor: TlsAcceptor, stream: TcpStream, port: u16) {
    // Either side may leave at any time. The other side then sees the end of its stream.
    let Ok(mut client) = acceptor.accept(stream).await else { return };
    let mut server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let _ = copy_bidirectional(&mut client, &mut server).await;
}
