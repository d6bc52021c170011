//! The URL of a source, parsed once.

use std::collections::BTreeSet;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use thiserror::Error;

use super::Stage;
use super::arn::Arn;

mod parse;

/// Characters of names that are not escaped in a canonical URL: RFC 3986's unreserved characters,
/// the slash, and a few that are frequent in keys and have no meaning before the query.
const IN_PATH: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b'/')
    .remove(b'=')
    .remove(b':');
/// The same for secrets and parameters, with all characters that their names may have.
const IN_NAME: &AsciiSet = &IN_PATH.remove(b'+').remove(b'@');
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Where a key set is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceUrl {
    /// `file:/PATH[?region=R]`. The region is ignored.
    File {
        /// An absolute path.
        path: PathBuf,
    },
    /// `s3://BUCKET/KEY[?version_id=V][&region=R]`.
    S3 {
        /// The bucket's name.
        bucket: String,
        /// The object's key, percent-decoded.
        key: String,
        /// Pins one version of the object.
        version_id: Option<String>,
        /// The bucket's region; if `None`, the environment's, then IMDSv2's.
        region: Option<String>,
    },
    /// `s3://BUCKET/PREFIX/[?region=R]`: every object below a prefix, which ends with a slash.
    Prefix {
        /// The bucket's name.
        bucket: String,
        /// The prefix with its slash, percent-decoded.
        prefix: String,
        /// The bucket's region; if `None`, the environment's, then IMDSv2's.
        region: Option<String>,
    },
    /// `secretsmanager:NAME-OR-ARN[?field=F][&stages=...][&region=R]`.
    Secret {
        /// The secret's name or ARN, percent-decoded.
        id: String,
        /// The stages whose documents are in force together; always includes AWSCURRENT.
        stages: BTreeSet<Stage>,
        /// The field of the secret's JSON object that holds the document; `None`: the whole value
        /// is the document.
        field: Option<String>,
        /// The secret's region; if `None`, the ARN's, then the environment's, then IMDSv2's.
        region: Option<String>,
    },
    /// `ssm:NAME-OR-ARN[:VERSION-OR-LABEL][?region=R]`.
    Parameter {
        /// The parameter's name or ARN, with its version or label, percent-decoded.
        id: String,
        /// The parameter's region; if `None`, the ARN's, then the environment's, then IMDSv2's.
        region: Option<String>,
    },
}

/// Why a text is not a source URL, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is not a source: {fault}")]
pub struct BadSourceUrl {
    url: String,
    fault: String,
}

impl SourceUrl {
    /// Parses a source URL. Names are percent-decoded once; unknown query parameters are errors.
    pub fn parse(url: &str) -> Result<Self, BadSourceUrl> {
        parse::parse(url).map_err(|fault| BadSourceUrl {
            url: url.to_owned(),
            fault,
        })
    }

    /// The URL without its query, percent-encoded: the key under which the highest serial is
    /// recorded. Another field of a secret is another document, so the field is part of it.
    pub fn mark(&self) -> String {
        match self {
            Self::File { path } => {
                // `file://x` would be parsed as a host, so any number of leading slashes becomes
                // one.
                let path = path.as_os_str().as_bytes();
                let leading = path.iter().take_while(|&&byte| byte == b'/').count();
                format!(
                    "file:/{}",
                    percent_encode(path.get(leading..).unwrap_or_default(), IN_PATH)
                )
            }
            Self::S3 { bucket, key, .. }
            | Self::Prefix {
                bucket,
                prefix: key,
                ..
            } => {
                let [bucket, key] =
                    [bucket, key].map(|name| percent_encode(name.as_bytes(), IN_PATH));
                format!("s3://{bucket}/{key}")
            }
            Self::Secret { id, field, .. } => {
                let id = percent_encode(id.as_bytes(), IN_NAME);
                match field {
                    Some(field) => {
                        format!(
                            "secretsmanager:{id}?field={}",
                            percent_encode(field.as_bytes(), IN_QUERY)
                        )
                    }
                    None => format!("secretsmanager:{id}"),
                }
            }
            Self::Parameter { id, .. } => format!("ssm:{}", percent_encode(id.as_bytes(), IN_NAME)),
        }
    }

    /// The region to query, if the URL determines it.
    pub fn region(&self) -> Option<&str> {
        let (region, arn) = match self {
            Self::File { .. } => return None,
            Self::S3 { region, .. } | Self::Prefix { region, .. } => (region, None),
            Self::Secret { id, region, .. } => (region, Arn::parse(id, "secretsmanager")),
            Self::Parameter { id, region } => (region, Arn::parse(id, "ssm")),
        };
        region.as_deref().or_else(|| Some(arn?.ok()?.region))
    }

    /// The stages whose documents are in force together; only the current one for a source without
    /// stages.
    pub fn stages(&self) -> BTreeSet<Stage> {
        match self {
            Self::Secret { stages, .. } => stages.clone(),
            Self::File { .. } | Self::S3 { .. } | Self::Prefix { .. } | Self::Parameter { .. } => {
                BTreeSet::from([Stage::Current])
            }
        }
    }

    /// The field of the secret's JSON object that holds the document, if one is named.
    pub fn field(&self) -> Option<&str> {
        match self {
            Self::Secret { field, .. } => field.as_deref(),
            Self::File { .. } | Self::S3 { .. } | Self::Prefix { .. } | Self::Parameter { .. } => {
                None
            }
        }
    }

    fn query(&self) -> Vec<String> {
        let mut parameters = Vec::new();
        let region = match self {
            Self::File { .. } => return parameters,
            Self::S3 {
                version_id, region, ..
            } => {
                if let Some(id) = version_id {
                    parameters.push(parameter("version_id", id));
                }
                region
            }
            Self::Secret { stages, region, .. } => {
                if *stages != parse::DEFAULT_STAGES.into() {
                    let stages: Vec<String> = stages.iter().map(Stage::to_string).collect();
                    parameters.push(format!("stages={}", stages.join(",")));
                }
                region
            }
            Self::Prefix { region, .. } | Self::Parameter { region, .. } => region,
        };
        if let Some(region) = region {
            parameters.push(parameter("region", region));
        }
        parameters
    }
}

fn parameter(name: &str, value: &str) -> String {
    format!("{name}={}", percent_encode(value.as_bytes(), IN_QUERY))
}

/// The canonical URL, percent-encoded where necessary. Parsing it gives the same value back.
impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mark())?;
        let first = if self.field().is_none() { '?' } else { '&' };
        for (at, parameter) in self.query().iter().enumerate() {
            write!(f, "{}{parameter}", if at == 0 { first } else { '&' })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
