//! The URL of a source, parsed once.

use std::ffi::OsString;
use std::fmt;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};
use thiserror::Error;

/// What a name may show as it is in a canonical URL: RFC 3986's unreserved characters, the slash, and a few that
/// keys are full of and that mean nothing before the query.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/').remove(b'=').remove(b':');
const IN_QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where a key set is published.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum SourceUrl {
    /// `file:/PATH`.
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
        /// The bucket's region; else the environment's, else IMDSv2's.
        region: Option<String>,
    },
}

/// Why a text is no source URL, with what to write instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{url:?} is no source: {fault}")]
pub struct BadSourceUrl {
    url: String,
    fault: String,
}

impl SourceUrl {
    /// Parses a source URL. Names are percent-decoded once; unknown query parameters are errors.
    pub fn parse(url: &str) -> Result<Self, BadSourceUrl> {
        parse(url).map_err(|fault| BadSourceUrl { url: url.to_owned(), fault })
    }

    /// The URL without its query, percent-encoded: what the serial's high-water mark belongs to.
    pub fn mark(&self) -> String {
        match self {
            Self::File { path } => {
                // `file://x` would read as a host: any number of leading slashes is one.
                let path = path.as_os_str().as_bytes();
                let leading = path.iter().take_while(|&&byte| byte == b'/').count();
                format!("file:/{}", percent_encode(path.get(leading..).unwrap_or_default(), IN_PATH))
            }
            Self::S3 { bucket, key, .. } => {
                let [bucket, key] = [bucket, key].map(|name| percent_encode(name.as_bytes(), IN_PATH));
                format!("s3://{bucket}/{key}")
            }
        }
    }

    fn query(&self) -> Vec<(&'static str, &str)> {
        let (version_id, region) = match self {
            Self::File { .. } => (None, None),
            Self::S3 { version_id, region, .. } => (version_id.as_deref(), region.as_deref()),
        };
        [version_id.map(|value| ("version_id", value)), region.map(|value| ("region", value))]
            .into_iter()
            .flatten()
            .collect()
    }
}

/// The canonical URL, percent-encoded where it must be; parsing it gives the same value back.
impl fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.mark())?;
        for (at, (name, value)) in self.query().into_iter().enumerate() {
            let mark = if at == 0 { '?' } else { '&' };
            write!(f, "{mark}{name}={}", percent_encode(value.as_bytes(), IN_QUERY))?;
        }
        Ok(())
    }
}

fn parse(url: &str) -> Result<SourceUrl, String> {
    if url.chars().any(char::is_control) {
        return Err("it has a control character".to_owned());
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(match url.strip_prefix('/') {
            Some(path) => format!("a file is written `file:/{path}`"),
            None => "write `s3://BUCKET/KEY` or `file:/PATH`".to_owned(),
        });
    };
    match scheme {
        "file" => file(rest),
        "s3" => s3(rest),
        "secretsmanager" | "ssm" => {
            Err(format!("this version does not know `{scheme}:` yet; write `s3://BUCKET/KEY` or `file:/PATH`"))
        }
        "http" | "https" => {
            Err("web addresses are no sources; for a bucket's address write `s3://BUCKET/KEY`".to_owned())
        }
        _ => Err("this scheme is not known; write `s3://BUCKET/KEY` or `file:/PATH`".to_owned()),
    }
}

fn file(rest: &str) -> Result<SourceUrl, String> {
    if rest.contains('?') {
        return Err("a file has no parameters; write `file:/PATH`, and `%3F` for a question mark in a name".to_owned());
    }
    let path = rest.strip_prefix("//").unwrap_or(rest);
    let Some(path) = path.strip_prefix('/') else {
        return Err("the path must be absolute; write `file:/PATH`".to_owned());
    };
    let path = decoded(path)?;
    let leading = path.iter().take_while(|&&byte| byte == b'/').count();
    let path = path.get(leading..).unwrap_or_default();
    if path.is_empty() {
        return Err("it names no file; write `file:/PATH`".to_owned());
    }
    let path = [b"/", path].concat();
    Ok(SourceUrl::File { path: PathBuf::from(OsString::from_vec(path)) })
}

fn s3(rest: &str) -> Result<SourceUrl, String> {
    const WRITE: &str = "write `s3://BUCKET/KEY`";
    let Some(rest) = rest.strip_prefix("//") else { return Err(WRITE.to_owned()) };
    let (names, query) = match rest.split_once('?') {
        Some((names, query)) => (names, Some(query)),
        None => (rest, None),
    };
    let (bucket, key) = names.split_once('/').unwrap_or((names, ""));
    let bucket = decoded_text(bucket)?;
    if bucket.is_empty() {
        return Err(format!("the bucket is missing; {WRITE}"));
    }
    // The name becomes part of a host name or a path: what no bucket has, no request shall have.
    let in_name = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if bucket.len() > 255 || !bucket.chars().all(in_name) || bucket.chars().all(|c| c == '.') {
        return Err(
            "a bucket's name (or an access point's alias) has only letters, digits, `-`, `.` and `_`".to_owned()
        );
    }
    let key = decoded_text(key)?;
    if key.is_empty() {
        return Err(format!("the key is missing; {WRITE}"));
    }
    if key.len() > 1_024 {
        return Err("a key has at most 1,024 bytes".to_owned());
    }
    let [version_id, region] = parameters(query, ["version_id", "region"])?;
    // It becomes part of a host name, and credentials are signed for it.
    let in_region = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if region.as_ref().is_some_and(|region| region.len() > 63 || !region.chars().all(in_region)) {
        return Err("that is no region; write it as in `region=eu-central-1`".to_owned());
    }
    Ok(SourceUrl::S3 { bucket, key, version_id, region })
}

/// The values of a query, in the order of their `known` names.
fn parameters<const N: usize>(query: Option<&str>, known: [&str; N]) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    let Some(query) = query else { return Ok(values) };
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let slot = known.iter().zip(&mut values).find_map(|(&known, slot)| (known == name).then_some(slot));
        let Some(slot) = slot else {
            let known = known.map(|name| format!("`{name}=`")).join(" and ");
            return Err(format!(
                "the parameter {name:?} is not known, only {known} are; write `%3F` for a question mark in a name"
            ));
        };
        if value.is_empty() {
            return Err(format!("`{name}=` has no value; give it one or leave it out"));
        }
        if slot.replace(decoded_text(value)?).is_some() {
            return Err(format!("`{name}=` is there twice; leave one out"));
        }
    }
    Ok(values)
}

fn decoded_text(text: &str) -> Result<String, String> {
    let text = String::from_utf8(decoded(text)?)
        .map_err(|_not_utf8| "what its %-escapes stand for is not UTF-8".to_owned())?;
    // Beyond ASCII there are more of them, which `decoded` cannot tell in bytes.
    if text.chars().any(char::is_control) {
        return Err("its %-escapes stand for a control character".to_owned());
    }
    Ok(text)
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    let escaped = |after: &str| {
        let mut digits = after.bytes();
        [digits.next(), digits.next()].into_iter().all(|digit| digit.is_some_and(|digit| digit.is_ascii_hexdigit()))
    };
    // A lone `%` taken as itself would make `100%.json` and `100%25.json` one key, and hide a slip.
    if !text.split('%').skip(1).all(escaped) {
        return Err("a `%` must begin an escape of two hexadecimal digits; write `%25` for a percent sign".to_owned());
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("its %-escapes stand for a control character".to_owned());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn s3(bucket: &str, key: &str, version_id: Option<&str>, region: Option<&str>) -> SourceUrl {
        let [version_id, region] = [version_id, region].map(|value| value.map(str::to_owned));
        SourceUrl::S3 { bucket: bucket.to_owned(), key: key.to_owned(), version_id, region }
    }

    fn file(path: &str) -> SourceUrl {
        SourceUrl::File { path: PathBuf::from(path) }
    }

    #[test]
    fn good_urls_are_read_and_shown_in_their_canonical_form() {
        let cases = [
            ("file:/etc/keys.json", file("/etc/keys.json"), "file:/etc/keys.json"),
            ("file:///etc/keys.json", file("/etc/keys.json"), "file:/etc/keys.json"),
            ("file:////etc/keys", file("/etc/keys"), "file:/etc/keys"),
            ("file:/%2Fetc/keys", file("/etc/keys"), "file:/etc/keys"),
            ("file:/a b/ü%3F+", file("/a b/ü?+"), "file:/a%20b/%C3%BC%3F%2B"),
            ("s3://b/k", s3("b", "k", None, None), "s3://b/k"),
            ("s3://my-b.x_1/a/b.json", s3("my-b.x_1", "a/b.json", None, None), "s3://my-b.x_1/a/b.json"),
            ("s3://b//k/", s3("b", "/k/", None, None), "s3://b//k/"),
            ("s3://b/a+b c%2525", s3("b", "a+b c%25", None, None), "s3://b/a%2Bb%20c%2525"),
            ("s3://b/k?version_id=a%26b", s3("b", "k", Some("a&b"), None), "s3://b/k?version_id=a%26b"),
            (
                "s3://b/k?region=eu-central-1&version_id=V1",
                s3("b", "k", Some("V1"), Some("eu-central-1")),
                "s3://b/k?version_id=V1&region=eu-central-1",
            ),
        ];
        for (text, url, canonical) in cases {
            assert_eq!(SourceUrl::parse(text).as_ref(), Ok(&url), "{text}");
            assert_eq!(url.to_string(), canonical);
            assert_eq!(SourceUrl::parse(canonical).as_ref(), Ok(&url), "{canonical}");
            assert_eq!(url.mark(), canonical.split('?').next().unwrap());
        }
    }

    #[test]
    fn bad_urls_say_what_to_write() {
        let cases = [
            ("", "write `s3://BUCKET/KEY` or `file:/PATH`"),
            ("keys.json", "write `s3://BUCKET/KEY` or `file:/PATH`"),
            ("/etc/keys", "a file is written `file:/etc/keys`"),
            ("file:keys", "must be absolute"),
            ("file://host/keys", "must be absolute"),
            ("file:/", "names no file"),
            ("file:/k?region=eu-west-1", "a file has no parameters"),
            ("file:/k%00", "control character"),
            ("file:/k%zz", "write `%25`"),
            ("file:/k%", "write `%25`"),
            ("file:/k%é1", "write `%25`"),
            ("s3:b/k", "write `s3://BUCKET/KEY`"),
            ("S3://b/k", "scheme is not known"),
            ("s3://", "bucket is missing"),
            ("s3:///k", "bucket is missing"),
            ("s3://b", "key is missing"),
            ("s3://b/", "key is missing"),
            ("s3://b/?region=eu-west-1", "key is missing"),
            ("s3://a%2Fb/k", "a bucket's name"),
            ("s3://../k", "a bucket's name"),
            ("s3://arn:aws:s3:eu-west-1:1:accesspoint/a/k", "a bucket's name"),
            ("s3://b/k\n", "control character"),
            ("s3://b/k%0a", "control character"),
            ("s3://b/k%C2%85", "control character"),
            ("s3://b/k%ff", "not UTF-8"),
            ("s3://b/k?", "the parameter \"\" is not known"),
            ("s3://b/k?versionId=1", "only `version_id=` and `region=` are"),
            ("s3://b/k?region=", "`region=` has no value"),
            ("s3://b/k?version_id", "`version_id=` has no value"),
            ("s3://b/k?region=a&region=a", "`region=` is there twice"),
            ("s3://b/k?region=a.evil.example%2F", "that is no region"),
            ("s3://b/k?region=a&", "the parameter \"\" is not known"),
            ("secretsmanager:prod/keys", "does not know `secretsmanager:` yet"),
            ("ssm:/keys", "does not know `ssm:` yet"),
            ("https://b.s3.amazonaws.com/k", "write `s3://BUCKET/KEY`"),
            ("gs://b/k", "scheme is not known"),
        ];
        for (text, fault) in cases {
            let error = SourceUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(fault), "{text:?}: {error}");
            assert!(!error.contains(char::is_control), "{error:?}");
        }
        assert!(SourceUrl::parse(&format!("s3://b/{}", "k".repeat(1_024))).is_ok());
        assert!(SourceUrl::parse(&format!("s3://b/{}", "k".repeat(1_025))).is_err());
    }

    #[test]
    fn a_path_that_is_not_utf_8_round_trips() {
        let url = SourceUrl::parse("file:/k%FF").unwrap();
        assert_eq!(url, SourceUrl::File { path: PathBuf::from(OsString::from_vec(b"/k\xff".to_vec())) });
        assert_eq!(url.to_string(), "file:/k%FF");
    }

    proptest! {
        #[test]
        fn every_s3_url_round_trips(
            bucket in "[a-z0-9][A-Za-z0-9._-]{0,20}",
            key in "\\PC{1,60}",
            version_id in proptest::option::of("\\PC{1,20}"),
            region in proptest::option::of("[a-z0-9-]{1,20}"),
        ) {
            let url = s3(&bucket, &key, version_id.as_deref(), region.as_deref());
            prop_assert!(url.to_string().is_ascii());
            prop_assert_eq!(SourceUrl::parse(&url.to_string()), Ok(url));
        }

        #[test]
        fn every_file_url_round_trips(path in "/[^/\\pC]\\PC{0,60}") {
            let url = file(&path);
            prop_assert_eq!(SourceUrl::parse(&url.to_string()), Ok(url));
        }

        #[test]
        fn what_parses_is_stable_and_nothing_panics(text in "(s3://|file:/|)\\PC{0,40}") {
            if let Ok(url) = SourceUrl::parse(&text) {
                prop_assert_eq!(SourceUrl::parse(&url.to_string()), Ok(url));
            }
        }
    }
}
