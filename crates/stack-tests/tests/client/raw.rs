//! A server that issues tokens, and sends one fixed response, byte for byte, to every other
//! request.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use turris_auth::{Credentials, Environment, TurrisClient, client::TurrisClientBuilder};

const TOKEN: &str = r#"{"data": {"accessToken": "the-raw-token", "expiresIn": 3600, "tokenType": "Bearer"}}"#;

pub(crate) struct Server {
    environment: Environment,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub(crate) async fn start(answer: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let environment = Environment::custom(format!("http://{}", listener.local_addr().unwrap())).unwrap();
        let heads = Arc::new(Mutex::new(vec![]));
        let seen = Arc::clone(&heads);
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, answer, Arc::clone(&seen)));
            }
        });
        Self { environment, heads }
    }

    pub(crate) fn client(&self) -> TurrisClientBuilder {
        TurrisClient::builder(Credentials::new("id", "secret").unwrap(), self.environment.clone())
    }

    /// Returns the request lines and headers of all requests except token requests.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

async fn serve(mut connection: TcpStream, answer: &'static str, heads: Arc<Mutex<Vec<String>>>) {
    let mut read = String::new();
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = connection.read(&mut buffer).await {
        read.push_str(std::str::from_utf8(&buffer[..length]).unwrap());
        // Only token requests have a body here. It ends with a brace.
        let Some(end) = read.find("\r\n\r\n") else { continue };
        if read.starts_with("POST /v1/auth/jwt") {
            if read.ends_with('}') {
                let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\n\r\n", TOKEN.len());
                connection.write_all((head + TOKEN).as_bytes()).await.unwrap();
                read.clear();
            }
        } else {
            heads.lock().unwrap().push(read[..end + 2].to_owned());
            connection.write_all(answer.as_bytes()).await.unwrap();
            read.clear();
        }
    }
}
