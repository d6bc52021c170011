//! Where operators read a key set from: a source's URL, optionally with one version pinned. Pure.

use std::fmt;

use crate::origin::SourceUrl;

/// A source, and which of its versions to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The source's URL without the pin.
    pub url: SourceUrl,
    /// `None`: the published one.
    pub pin: Option<Pin>,
}

/// One version of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pin {
    /// By its id or number; for a parameter also by a label.
    Version(String),
    /// By a stage of a secret.
    Stage(String),
}

const SECRET: &str = "secretsmanager:";

impl Place {
    /// Whether a text is meant as a source and not as a file name.
    pub fn is_url(text: &str) -> bool {
        ["s3:", SECRET, "ssm:", "file:"]
            .iter()
            .any(|scheme| text.starts_with(scheme))
    }

    /// Parses a source's URL: `?version_id=V` pins a version of an object or a secret,
    /// `?stages=STAGE` one stage of a secret, `:VERSION-OR-LABEL` a version of a parameter.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (text, pin) = if text.starts_with(SECRET) {
            secret_pin(text)?
        } else {
            (text.to_owned(), None)
        };
        let url = SourceUrl::parse(&text).map_err(|fault| fault.to_string())?;
        Ok(match url {
            SourceUrl::S3 {
                bucket,
                key,
                version_id,
                region,
            } => Self {
                url: SourceUrl::S3 {
                    bucket,
                    key,
                    version_id: None,
                    region,
                },
                pin: version_id.map(Pin::Version),
            },
            SourceUrl::Parameter { id, region } => {
                let (name, selector) = selected(&id);
                let pin = selector.map(|selector| Pin::Version(selector.to_owned()));
                Self {
                    url: SourceUrl::Parameter {
                        id: name.to_owned(),
                        region,
                    },
                    pin,
                }
            }
            url => Self { url, pin },
        })
    }

    /// The same source with another pinned version, given as an id, a number, a label or a stage.
    pub fn pinned(&self, version: &str) -> Self {
        let is_stage = matches!(self.url, SourceUrl::Secret { .. }) && version.starts_with("AWS");
        let pin = if is_stage {
            Pin::Stage(version.to_owned())
        } else {
            Pin::Version(version.to_owned())
        };
        Self {
            url: self.url.clone(),
            pin: Some(pin),
        }
    }
}

/// As an operator writes it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let url = self.url.to_string();
        match (&self.pin, &self.url) {
            (None, _) => f.write_str(&url),
            (Some(Pin::Version(version)), SourceUrl::Parameter { .. }) => match url.split_once('?')
            {
                Some((name, query)) => write!(f, "{name}:{version}?{query}"),
                None => write!(f, "{url}:{version}"),
            },
            (Some(pin), _) => {
                let sign = if url.contains('?') { '&' } else { '?' };
                match pin {
                    Pin::Version(version) => write!(f, "{url}{sign}version_id={version}"),
                    Pin::Stage(stage) => write!(f, "{url}{sign}stages={stage}"),
                }
            }
        }
    }
}

/// Splits a parameter's name from its version or label.
fn selected(id: &str) -> (&str, Option<&str>) {
    // An ARN has five colons before its resource.
    let resource = if id.starts_with("arn:") {
        match id.match_indices(':').nth(4) {
            Some((at, _)) => at + 1,
            None => id.len(),
        }
    } else {
        0
    };
    match id.get(resource..).and_then(|name| name.find(':')) {
        Some(at) => {
            let (name, selector) = id.split_at_checked(resource + at).unwrap_or((id, ""));
            (name, selector.strip_prefix(':'))
        }
        None => (id, None),
    }
}

/// Splits the pin from a secret's URL. Several stages are not a pin: nodes read them together.
fn secret_pin(text: &str) -> Result<(String, Option<Pin>), String> {
    let Some((name, query)) = text.split_once('?') else {
        return Ok((text.to_owned(), None));
    };
    let mut rest = Vec::new();
    let mut pin = None;
    for parameter in query.split('&') {
        let found = match parameter.split_once('=') {
            Some(("version_id", version)) => Pin::Version(version.to_owned()),
            Some(("stages", stage)) if !stage.contains([',', '%']) && stage != "AWSCURRENT" => {
                Pin::Stage(stage.to_owned())
            }
            _ => {
                rest.push(parameter);
                continue;
            }
        };
        let (Pin::Version(value) | Pin::Stage(value)) = &found;
        if value.is_empty()
            || !value
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.+=@/".contains(&b))
        {
            return Err(format!(
                "{text:?} is not a source: {value:?} is neither a version's id nor a stage"
            ));
        }
        if pin.replace(found).is_some() {
            return Err(format!(
                "{text:?} is not a source: it names two versions; leave one out"
            ));
        }
    }
    let query = if rest.is_empty() {
        String::new()
    } else {
        format!("?{}", rest.join("&"))
    };
    Ok((format!("{name}{query}"), pin))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pins_are_taken_out_of_urls_and_shown_again() {
        let arn = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/keys";
        let version = |text: &str| Some(Pin::Version(text.to_owned()));
        let stage = |text: &str| Some(Pin::Stage(text.to_owned()));
        for (text, url, pin) in [
            ("s3://b/k", "s3://b/k".to_owned(), None),
            (
                "s3://b/k?version_id=V1&region=eu-west-1",
                "s3://b/k?region=eu-west-1".to_owned(),
                version("V1"),
            ),
            (
                "secretsmanager:k?stages=AWSPREVIOUS",
                "secretsmanager:k".to_owned(),
                stage("AWSPREVIOUS"),
            ),
            (
                "secretsmanager:k?stages=AWSCURRENT",
                "secretsmanager:k?stages=AWSCURRENT".to_owned(),
                None,
            ),
            (
                "secretsmanager:k?version_id=0a-1",
                "secretsmanager:k".to_owned(),
                version("0a-1"),
            ),
            (
                "ssm:/prod/keys:3",
                "ssm:/prod/keys".to_owned(),
                version("3"),
            ),
            ("ssm:/prod/keys", "ssm:/prod/keys".to_owned(), None),
            (
                &format!("ssm:{arn}:live"),
                format!("ssm:{arn}"),
                version("live"),
            ),
            (&format!("ssm:{arn}"), format!("ssm:{arn}"), None),
            (
                "file:/etc/keys.json",
                "file:/etc/keys.json".to_owned(),
                None,
            ),
        ] {
            let place = Place::parse(text).unwrap();
            assert_eq!((place.url.to_string(), &place.pin), (url, &pin), "{text}");
            assert_eq!(Place::parse(&place.to_string()).unwrap(), place, "{place}");
        }
        for bad in [
            "secretsmanager:k?stages=AWSPREVIOUS&version_id=1",
            "secretsmanager:k?version_id=",
            "s3://b",
        ] {
            assert!(Place::parse(bad).is_err(), "{bad}");
        }
    }
}
