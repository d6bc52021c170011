//! The private CA in `AWS_CA_BUNDLE` or the profile's `ca_bundle`, which the SDK does not read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_smithy_http_client::tls::TrustStore;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use thiserror::Error;

/// The size limit of a bundle in bytes: the bundles of operating systems have about 250 KB.
const MAX_BUNDLE: u64 = 4 << 20;

/// A CA bundle that cannot be used. No other certificates are trusted instead.
#[derive(Debug, Error)]
#[error("the CA bundle {path} {fault}")]
pub(crate) struct BadBundle {
    path: PathBuf,
    fault: &'static str,
    #[source]
    source: Option<io::Error>,
}

/// The trusted certificates: those in the file and no others, as with the AWS CLI.
pub(super) fn trust(path: &Path) -> Result<TrustStore, BadBundle> {
    let pem = match read(path) {
        Ok(pem) => pem,
        Err(fault) => {
            return Err(BadBundle {
                path: path.to_owned(),
                fault: "cannot be read",
                source: Some(fault),
            });
        }
    };
    // The SDK panics on certificates that it cannot parse, and bundles of operating systems contain
    // odd ones, so it gets only those that are known to be valid.
    let mut roots = RootCertStore::empty();
    let mut store = TrustStore::empty();
    for der in CertificateDer::pem_slice_iter(&pem).flatten() {
        if roots.add(der.clone()).is_ok() {
            let body = BASE64_STANDARD.encode(&der);
            store.add_pem_certificate(format!(
                "-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n"
            ));
        }
    }
    if roots.is_empty() {
        return Err(BadBundle {
            path: path.to_owned(),
            fault: "holds no certificate in PEM form",
            source: None,
        });
    }
    Ok(store)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut pem = Vec::new();
    File::open(path)?.take(MAX_BUNDLE).read_to_end(&mut pem)?;
    Ok(pem)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bundle_is_refused_and_never_a_panic() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        assert!(
            trust(&path)
                .unwrap_err()
                .to_string()
                .contains("cannot be read")
        );
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        for content in [
            "",
            "text",
            broken,
            "-----BEGIN CERTIFICATE-----\n%\n-----END CERTIFICATE-----\n",
        ] {
            io::Write::write_all(&mut File::create(&path).unwrap(), content.as_bytes()).unwrap();
            assert!(
                trust(&path)
                    .unwrap_err()
                    .to_string()
                    .contains("holds no certificate"),
                "{content}"
            );
        }
    }
}
