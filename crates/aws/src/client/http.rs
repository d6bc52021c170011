//! The only HTTP client for all AWS calls, including those for credentials and metadata.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, TlsContext, TrustStore, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use http_body_util::{BodyExt as _, Limited};
use thiserror::Error;

use super::bundle::{self, BadBundle};
use super::locked;
use super::values::{BadValue, MetadataAnswers};
use super::words::host;

/// Larger than any answer: a document of 1 MiB in the JSON of Secrets Manager, with every character
/// escaped.
const MAX_BODY: usize = 8 << 20;
/// Larger than a token of the metadata service, the name of a role, or a tag.
const MAX_WORD: usize = 64 << 10;
/// The headers of requests to the metadata service.
const TTL: &str = "x-aws-ec2-metadata-token-ttl-seconds";
const TOKEN: &str = "x-aws-ec2-metadata-token";

/// A request that would send a key set, or credentials, in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("plain http to {host}")]
pub struct PlainHttp {
    /// The host that it would have gone to.
    pub host: String,
}

/// What a private key looks like in PEM, in a rotation secret's JSON, and in PuTTY's format.
/// Whether a document contains one is judged elsewhere, more thoroughly: a key that is missed here
/// stays in a connection's buffer until another answer arrives. Each pattern begins with a P,
/// omitted here, and contains no other P.
const PRIVATE: [&[u8]; 3] = [b"RIVATE KEY", b"rivateKey", b"rivate-Lines"];

/// The shared client. Its connections live as long as it does, except those that received a private
/// key.
#[derive(Debug, Clone)]
pub struct Http(Arc<ByScheme>);

/// Sets up TLS only for the first https request: reading and parsing the system's root certificates
/// costs more than the rest of a fetch, and the SDK's own client would do it for every client that
/// is built from it.
#[derive(Debug)]
struct ByScheme {
    clients: Mutex<SdkClients>,
    /// The file whose certificates are trusted instead of the system's.
    bundle: Mutex<Option<PathBuf>>,
    /// Other machines that may be contacted over plain http.
    plain_hosts: Vec<String>,
    /// The metadata service's last answer, if it was refused.
    refused: Mutex<Option<BadValue>>,
}

/// The SDK's own clients, each with its connections, made when they are first needed.
#[derive(Debug, Default)]
struct SdkClients {
    plain: Option<SharedHttpClient>,
    tls: Option<SharedHttpClient>,
}

impl Http {
    /// `plain_hosts` lists hosts in the format of `AUTHKEYSD_PLAIN_HTTP`: separated by commas,
    /// without ports.
    pub fn new(plain_hosts: &str) -> Self {
        let mut hosts = Vec::new();
        for host in plain_hosts.split(',') {
            let host = host.trim();
            if !host.is_empty() {
                hosts.push(host.to_ascii_lowercase());
            }
        }
        Self(Arc::new(ByScheme {
            clients: Mutex::default(),
            bundle: Mutex::default(),
            plain_hosts: hosts,
            refused: Mutex::default(),
        }))
    }

    /// The client as a type of the SDK.
    pub fn shared(&self) -> SharedHttpClient {
        SharedHttpClient::new(self.clone())
    }

    /// From the first https request on, trusts the certificates in this file instead of the
    /// system's.
    pub fn trust(&self, bundle: Option<PathBuf>) {
        *locked(&self.0.bundle) = bundle;
    }

    /// Why the metadata service's last answer was refused.
    pub fn refused_metadata(&self) -> Option<BadValue> {
        locked(&self.0.refused).clone()
    }
}

impl ByScheme {
    fn may_be_plain(&self, host: &str) -> bool {
        may_be_plain(host)
            || self
                .plain_hosts
                .iter()
                .any(|known| known.eq_ignore_ascii_case(host))
    }

    fn client(&self, https: bool) -> Result<SharedHttpClient, BadBundle> {
        let mut clients = locked(&self.clients);
        if !https {
            return Ok(clients.plain.get_or_insert_with(plain).clone());
        }
        if let Some(tls) = &clients.tls {
            return Ok(tls.clone());
        }
        // A bundle that cannot be read now may be readable next time, so the failure is not kept.
        let path = locked(&self.bundle).clone();
        // The SDK's own client would abort the process for a file without certificates.
        let store = match (path, std::env::var_os("SSL_CERT_FILE")) {
            (Some(path), _) => bundle::trust(&path)?,
            (None, Some(path)) => bundle::trust(Path::new(&path))?,
            (None, None) => TrustStore::default(),
        };
        Ok(clients.tls.insert(tls(store)).clone())
    }

    /// The metadata service's answer, unless it would crash the process later.
    async fn checked(
        &self,
        question: MetadataAnswers,
        answer: HttpResponse,
    ) -> Result<HttpResponse, ConnectorError> {
        let mut answer = answer;
        let body = std::mem::replace(answer.body_mut(), SdkBody::taken());
        let body = Limited::new(body, MAX_WORD)
            .collect()
            .await
            .map_err(ConnectorError::io)?
            .to_bytes();
        let checked = question.check(answer.headers().get(TTL), &body);
        match checked {
            Ok(()) => {
                *locked(&self.refused) = None;
                *answer.body_mut() = SdkBody::from(body);
                Ok(answer)
            }
            Err(bad) => {
                *locked(&self.refused) = Some(bad.clone());
                Err(ConnectorError::user(bad.into()))
            }
        }
    }

    /// TLS decrypts in the connection's own buffer, where an answer stays until the next one
    /// overwrites it. Dropping the client drops its connections; those in use are dropped once they
    /// have been read.
    fn look_for_private_key(&self, piece: &[u8]) {
        for rest in piece.split(|b| *b == b'P').skip(1) {
            if PRIVATE.iter().any(|mark| rest.starts_with(mark)) {
                *locked(&self.clients) = SdkClients::default();
                return;
            }
        }
    }
}

impl HttpClient for Http {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        components: &RuntimeComponents,
    ) -> SharedHttpConnector {
        let settings = settings.clone();
        let components = Arc::new(components.clone());
        SharedHttpConnector::new(Choice {
            clients: Arc::clone(&self.0),
            settings,
            components,
        })
    }
}

#[derive(Debug)]
struct Choice {
    clients: Arc<ByScheme>,
    settings: HttpConnectorSettings,
    components: Arc<RuntimeComponents>,
}

impl HttpConnector for Choice {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let https = request.uri().starts_with("https:");
        let host = host(request.uri());
        if !https && !self.clients.may_be_plain(host) {
            let host = host.to_owned();
            return refused(PlainHttp { host }.into());
        }
        let client = match self.clients.client(https) {
            Ok(client) => client,
            Err(bundle) => return refused(bundle.into()),
        };
        let question = question(&request);
        let answer = client
            .http_connector(&self.settings, &self.components)
            .call(request);
        let clients = Arc::clone(&self.clients);
        HttpConnectorFuture::new(async move {
            let answer = answer.await?.map(|body| bounded(body, &clients));
            match question {
                Some(question) if answer.status().is_success() => {
                    clients.checked(question, answer).await
                }
                _ => Ok(answer),
            }
        })
    }
}

/// A request that is not sent.
fn refused(fault: BoxError) -> HttpConnectorFuture {
    HttpConnectorFuture::ready(Err(ConnectorError::user(fault)))
}

/// The body up to a limit, watched for private keys: the SDK collects errors and JSON in memory,
/// whatever their size.
fn bounded(body: SdkBody, clients: &Arc<ByScheme>) -> SdkBody {
    let clients = Arc::clone(clients);
    SdkBody::from_body_1_x(Limited::new(body, MAX_BODY).map_frame(move |frame| {
        if let Some(piece) = frame.data_ref() {
            clients.look_for_private_key(piece);
        }
        frame
    }))
}

/// Which metadata is requested, if the SDK builds its next request from the answer, or if anybody
/// could have written the answer.
fn question(request: &HttpRequest) -> Option<MetadataAnswers> {
    if request.headers().contains_key(TTL) {
        return Some(MetadataAnswers::Token);
    }
    if !request.headers().contains_key(TOKEN) {
        return None;
    }
    let path = request.uri().split(['?', '#']).next().unwrap_or_default();
    if path.ends_with("/iam/security-credentials/") {
        Some(MetadataAnswers::Role)
    } else if path.contains("/meta-data/tags/instance") {
        Some(MetadataAnswers::Tag)
    } else {
        None
    }
}

/// Never uses a proxy: plain http is only for this machine and its metadata service.
fn plain() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, _components| builder(settings).build_http())
}

fn tls(store: TrustStore) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, _components| {
        let context = TlsContext::builder()
            .with_trust_store(store.clone())
            .build()
            .unwrap_or_default();
        builder(settings)
            .proxy_config(ProxyConfig::from_env())
            .tls_provider(Provider::Rustls(CryptoMode::Ring))
            .tls_context(context)
            .build()
    })
}

fn builder(settings: Option<&HttpConnectorSettings>) -> aws_smithy_http_client::ConnectorBuilder {
    let builder = Connector::builder();
    match settings {
        Some(settings) => builder.connector_settings(settings.clone()),
        None => builder,
    }
}

/// Loopback, and the link-local addresses of the metadata and container credential services, which
/// support only http.
fn may_be_plain(host: &str) -> bool {
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_loopback() || address.is_link_local(),
        Ok(IpAddr::V6(address)) => {
            address.is_loopback()
                || address.is_unicast_link_local()
                || matches!(address.segments(), [0xfd00, 0xec2, 0, 0, 0, 0, 0, _])
        }
        Err(_name) => host.eq_ignore_ascii_case("localhost"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_and_its_metadata_may_be_spoken_to_in_the_clear() {
        for good in [
            "http://127.0.0.1:5000/b/k",
            "http://localhost/",
            "http://[::1]:1/",
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2",
            "http://[fd00:ec2::254]/latest",
        ] {
            assert!(may_be_plain(host(good)), "{good}");
        }
        for bad in [
            "http://s3.eu-central-1.amazonaws.com/b",
            "http://10.0.0.1/",
            "http://127.0.0.1.evil.example/",
            "http://localhost.evil.example/",
            "http://127.0.0.1@evil.example/",
            "http://evil.example/@127.0.0.1",
            "http://evil.example?@127.0.0.1",
            "http://[fd00:ec3::254]/",
            "http:///",
            "",
        ] {
            assert!(!may_be_plain(host(bad)), "{bad}");
        }
    }
}
