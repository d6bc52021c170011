//! A private CA, a server behind its certificates, and a proxy that knows CONNECT and nothing else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use authkeys_testing::s3_stub;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// A certificate authority of one's own.
pub(crate) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            pem,
            issuer: Issuer::new(params, key),
        }
    }

    /// Writes its certificate, as a bundle.
    pub(crate) fn write(&self, path: &Path) {
        std::fs::write(
            path,
            format!("# a comment, as bundles have them\n{}", self.pem),
        )
        .unwrap();
    }

    /// What a server of this name shows and proves itself by.
    fn config(&self, name: &str) -> Arc<ServerConfig> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        let private = PrivatePkcs8KeyDer::from(key.serialize_der());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap();
        Arc::new(
            config
                .with_no_client_auth()
                .with_single_cert(vec![certificate], private.into())
                .unwrap(),
        )
    }

    /// A TLS server with a certificate for `name` that gives one answer again and again; it ends
    /// with the test's process.
    pub(crate) fn serve(&self, name: &str, answer: &str) -> SocketAddr {
        let (config, answer) = (self.config(name), answer.to_owned());
        listen(move |stream| {
            let connection = ServerConnection::new(Arc::clone(&config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            while s3_stub::read(&mut stream).is_some()
                && stream.get_mut().write_all(answer.as_bytes()).is_ok()
            {}
        })
    }
}

/// Answers a CONNECT, and tunnels to one server whatever was asked for; it ends with the test's
/// process.
#[derive(Debug, Clone)]
pub(crate) struct Proxy {
    address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    /// To `server`; without one every request is answered by `refusal`, a status line.
    pub(crate) fn start(server: Option<SocketAddr>, refusal: &'static str) -> Self {
        let asked = Arc::<Mutex<Vec<String>>>::default();
        let notes = Arc::clone(&asked);
        let address = listen(move |mut stream| {
            let mut head = BufReader::new(stream.try_clone().unwrap());
            let mut line = String::new();
            head.read_line(&mut line).unwrap();
            notes
                .lock()
                .unwrap()
                .push(line.trim_end().trim_end_matches(" HTTP/1.1").to_owned());
            while line.trim_end() != "" {
                line.clear();
                head.read_line(&mut line).unwrap();
            }
            let Some(server) = server else {
                let _ = write!(stream, "HTTP/1.1 {refusal}\r\nContent-Length: 0\r\n\r\n");
                return;
            };
            write!(stream, "HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
            let origin = TcpStream::connect(server).unwrap();
            let (up, down) = (origin.try_clone().unwrap(), stream.try_clone().unwrap());
            std::thread::spawn(move || copy(head, up));
            copy(origin, down);
        });
        Self { address, asked }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What was asked for, each once, in order.
    pub(crate) fn asked(&self) -> Vec<String> {
        let mut asked = self.asked.lock().unwrap().clone();
        asked.dedup();
        asked
    }
}

fn copy(mut from: impl Read, mut to: TcpStream) {
    let _ = std::io::copy(&mut from, &mut to);
    let _ = to.shutdown(std::net::Shutdown::Write);
}

fn listen(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (address, serve) = (listener.local_addr().unwrap(), Arc::new(serve));
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let serve = Arc::clone(&serve);
            std::thread::spawn(move || serve(stream));
        }
    });
    address
}
