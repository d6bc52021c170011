//! Why there was no answer at all, and what to do: names, routes, certificates, proxies,
//! credentials.

use std::error::Error;
use std::io;

use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_types::error::metadata::ErrorMetadata;
use rustls::CertificateError;

use super::bundle::BadBundle;
use super::credentials::Unobtainable;
use super::http::PlainHttp;
use super::values::{BadValue, unreadable_profiles};
use super::verdict::of_credentials;
use super::words::{chain, find, lines, links, words};
use authkeys_core::origin::failure::Class;

/// The remedy when nothing more is known.
pub(super) const REACH: &str =
    "if it lasts, check DNS, routes, security groups, proxy and certificates on the way there";
const CREDENTIALS: &str = "attach an instance profile or set AWS_PROFILE; in a container the \
                           metadata service's hop limit must be at least 2";
/// The remedy for a missing region.
pub(super) const REGION: &str =
    "add `?region=REGION` to `source`, or set AWS_REGION; on EC2 the metadata service tells it";

/// The remedy for a kind of credentials that the SDK cannot fetch here.
const ANOTHER_WAY: &str = "this kind of credentials is not supported: let the AWS CLI fetch them \
                           (eval \"$(aws configure export-credentials --format env)\"), or name a \
                           program of your own as credential_process";

const BROKEN_TLS: &str =
    "does a proxy or firewall break TLS on the way there? is TLS spoken there at all?";

/// Whether this failure may be caused by a silent metadata service, which the SDK treats as "there
/// is none".
pub(super) fn lacks_metadata(remedy: &str) -> bool {
    remedy == REGION || remedy.ends_with(CREDENTIALS)
}

/// The class, the description and the remedy of a request that got no answer from `endpoint`.
pub(super) fn unanswered(
    error: &(dyn Error + 'static),
    not_made: bool,
    endpoint: &str,
) -> (Class, String, String) {
    if let Some(PlainHttp { host }) = find(error) {
        return (
            Class::Invalid,
            format!("was not made: it would go to {} in the clear", words(host)),
            "give the endpoint an https:// URL, or name the host in AUTHKEYSD_PLAIN_HTTP"
                .to_owned(),
        );
    }
    if let Some(bad) = find::<BadValue>(error) {
        return (bad.class(), format!("was not made: {bad}"), bad.remedy());
    }
    if let Some(bundle) = find::<BadBundle>(error) {
        let remedy =
            "correct AWS_CA_BUNDLE, the profile's ca_bundle or SSL_CERT_FILE, or leave it out";
        return (
            Class::Invalid,
            format!("was not made: {}", chain(bundle)),
            remedy.to_owned(),
        );
    }
    if let Some(fault) = find::<Unobtainable>(error) {
        let what = format!("was not made, the credentials cannot be had: {fault}");
        return (fault.class(), what, fault.remedy().to_owned());
    }
    if find::<CredentialsError>(error).is_some()
        && let Some((class, remedy)) = refused_credentials(error)
    {
        return (
            class,
            format!(
                "was not made, the credentials cannot be had: {}",
                chain(error)
            ),
            remedy.to_owned(),
        );
    }
    match find(error) {
        Some(CredentialsError::ProviderTimedOut(_) | CredentialsError::ProviderError(_)) => (
            Class::Transient,
            format!(
                "was not made, the credentials cannot be had: {}",
                chain(error)
            ),
            format!("if this lasts: {CREDENTIALS}"),
        ),
        Some(CredentialsError::InvalidConfiguration(_)) => (
            Class::Invalid,
            format!(
                "was not made, the credentials' configuration is wrong: {}",
                chain(error)
            ),
            "correct the AWS profile or the environment".to_owned(),
        ),
        Some(_) => no_credentials(),
        None if not_made => (
            Class::Invalid,
            format!("was not made: {}", chain(error)),
            "check `source`, the region and the endpoint".to_owned(),
        ),
        // The outermost error only says that the dispatch failed.
        None => {
            let cause = chain(error.source().unwrap_or(error));
            (
                Class::Transient,
                format!("did not reach {endpoint}: {cause}"),
                remedy(error).to_owned(),
            )
        }
    }
}

/// What to say without credentials. The SDK takes a file that it cannot read for an empty one, so
/// that is checked here.
fn no_credentials() -> (Class, String, String) {
    let what = "was not made: there are no credentials";
    let Some((variable, fault)) = unreadable_profiles() else {
        return (Class::Denied, what.to_owned(), CREDENTIALS.to_owned());
    };
    (
        Class::Denied,
        format!("{what}, because the file that {variable} names cannot be read: {fault}"),
        format!(
            "let authkeysd-fetch read it, which is not root and has no access to homes, or \
             {CREDENTIALS}"
        ),
    )
}

/// Whether STS or a sign-in service refused credentials.
pub(super) fn is_refusal(error: &(dyn Error + 'static)) -> bool {
    find::<CredentialsError>(error).is_some() && refused_credentials(error).is_some()
}

/// The class and the remedy when STS or a sign-in service refuses credentials, or when one of their
/// files is too old.
fn refused_credentials(error: &(dyn Error + 'static)) -> Option<(Class, &'static str)> {
    for link in links(error) {
        let text = link.to_string();
        // An error with a type in the SDK begins with its code.
        let code = match link.downcast_ref::<ErrorMetadata>() {
            Some(metadata) => metadata.code().unwrap_or_default(),
            None => text.split([':', ' ']).next().unwrap_or_default(),
        };
        if let Some(found) = of_credentials(code) {
            return Some(found);
        }
        if text.contains("feature") && text.contains("enabled") {
            return Some((Class::Invalid, ANOTHER_WAY));
        }
        let useless = [
            "expired",
            "not found",
            "refresh",
            "failed to load",
            "invalid JSON",
            "missing field",
        ];
        let useless = useless.iter().any(|part| text.contains(part));
        if text.contains("Login token") && useless
            || text.contains("/login/cache/")
            || text.contains("eauthenticate")
        {
            return Some((Class::Denied, "sign in again: aws login"));
        }
        if text.contains("SSO") && useless {
            return Some((Class::Denied, "sign in again: aws sso login"));
        }
    }
    None
}

fn remedy(error: &(dyn Error + 'static)) -> &'static str {
    match find(error) {
        Some(rustls::Error::InvalidCertificate(fault)) => return of_certificate(fault),
        Some(_) => return BROKEN_TLS,
        None => {}
    }
    let text = lines(error).to_lowercase();
    let kind = find::<io::Error>(error).map(io::Error::kind);
    if text.contains("dns error") {
        "its name has no address here: check the region and the endpoint, the node's DNS \
         (resolv.conf, the VPC's DNS settings), and without a way to the internet an interface \
         endpoint in the VPC"
    } else if kind == Some(io::ErrorKind::ConnectionRefused) {
        "nothing listens there: check the endpoint and its port, or the proxy of HTTPS_PROXY"
    } else if text.contains("tunnel") || text.contains("proxy") {
        "the proxy of HTTPS_PROXY does not let it through: correct it, let the proxy permit the \
         host, or name the host in NO_PROXY"
    } else if text.contains("tls handshake") {
        BROKEN_TLS
    } else if text.contains("timed out")
        || text.contains("timeout")
        || kind == Some(io::ErrorKind::TimedOut)
    {
        "no answer: check routes, security groups, the NAT gateway or the VPC's interface endpoint"
    } else {
        REACH
    }
}

fn of_certificate(fault: &CertificateError) -> &'static str {
    match fault {
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid at this node's time: check the clock, else the \
             certificate"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "its certificate is another server's: check the endpoint's name, and what answers in \
             its place"
        }
        _ => {
            "its certificate is not trusted here: if TLS is intercepted on purpose, or the \
             endpoint has a private CA, name that CA in AWS_CA_BUNDLE or the profile's ca_bundle; \
             else install ca-certificates, and find what answers"
        }
    }
}
