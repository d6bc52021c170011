//! The one HTTP client of all AWS calls, those for credentials and metadata included.

use std::net::IpAddr;
use std::sync::Arc;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use thiserror::Error;

/// A request that would send a key set, or credentials, in the clear.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("plain http to {host}")]
pub(crate) struct PlainHttp {
    pub(crate) host: String,
}

/// The shared client. Its connections live as long as it does.
pub(crate) fn client() -> SharedHttpClient {
    SharedHttpClient::new(ByScheme { plain: plain(), tls: tls() })
}

/// Sets TLS up only when the first https request is made: to read and parse the system's root certificates costs
/// more than all the rest of a fetch, and the SDK's own client would do it for every client that is built from it.
#[derive(Debug, Clone)]
struct ByScheme {
    plain: SharedHttpClient,
    tls: SharedHttpClient,
}

impl HttpClient for ByScheme {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let (settings, components) = (settings.clone(), Arc::new(components.clone()));
        SharedHttpConnector::new(Choice { clients: self.clone(), settings, components })
    }
}

#[derive(Debug)]
struct Choice {
    clients: ByScheme,
    settings: HttpConnectorSettings,
    components: Arc<RuntimeComponents>,
}

impl HttpConnector for Choice {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = if request.uri().starts_with("https:") {
            &self.clients.tls
        } else {
            let host = host(request.uri());
            if !may_be_plain(host) {
                let refused = PlainHttp { host: host.to_owned() };
                return HttpConnectorFuture::ready(Err(ConnectorError::user(refused.into())));
            }
            &self.clients.plain
        };
        client.http_connector(&self.settings, &self.components).call(request)
    }
}

/// Never through a proxy: what is left for plain http is this machine and its metadata service.
fn plain() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, _components| builder(settings).build_http())
}

fn tls() -> SharedHttpClient {
    Builder::new().build_with_connector_fn(|settings, _components| {
        builder(settings).proxy_config(ProxyConfig::from_env()).tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

fn builder(settings: Option<&HttpConnectorSettings>) -> aws_smithy_http_client::ConnectorBuilder {
    let builder = Connector::builder();
    match settings {
        Some(settings) => builder.connector_settings(settings.clone()),
        None => builder,
    }
}

/// The host of a URL: between the scheme (and user) and the port.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_scheme, rest)| rest);
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once('@').map_or(authority, |(_user, host)| host);
    match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

/// Loopback, and the link-local addresses of the metadata and container credential services, which speak nothing else.
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
