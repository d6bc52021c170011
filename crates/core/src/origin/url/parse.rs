//! Parses source URLs. Each fault says what to write instead.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::SourceUrl;
use crate::origin::Stage;
use crate::origin::arn::{Arn, is_region};

const WRITE: &str = "write `s3://BUCKET/KEY`, `secretsmanager:NAME`, `ssm:/NAME` or `file:/PATH`";
const LONE_PERCENT: &str =
    "a `%` must begin an escape of two hexadecimal digits; write `%25` for a percent sign";
/// The stages of a secret whose URL names none.
pub(super) const DEFAULT_STAGES: [Stage; 2] = [Stage::Current, Stage::Pending];

/// The error says what to write instead.
pub(super) fn parse(url: &str) -> Result<SourceUrl, String> {
    if url.chars().any(char::is_control) {
        return Err("it has a control character".to_owned());
    }
    let Some((scheme, rest)) = url.split_once(':') else {
        return Err(match url.strip_prefix('/') {
            Some(path) => format!("a file is written `file:/{path}`"),
            None => WRITE.to_owned(),
        });
    };
    match scheme {
        "file" => file(rest),
        "s3" => s3(rest),
        "secretsmanager" => secret(rest),
        "ssm" => parameter(rest),
        "http" | "https" => Err(
            "a web address is not a source; for a bucket's address write `s3://BUCKET/KEY`"
                .to_owned(),
        ),
        _ => Err(format!("this scheme is not known; {WRITE}")),
    }
}

fn file(rest: &str) -> Result<SourceUrl, String> {
    let (path, query) = split_query(rest);
    // `region` is allowed at every source. A file has no region, so the value is dropped.
    let [region] = parameters(query, ["region"])?;
    good_region(region)?;
    let path = path.strip_prefix("//").unwrap_or(path);
    let Some(path) = path.strip_prefix('/') else {
        return Err("the path must be absolute; write `file:/PATH`".to_owned());
    };
    let path = decoded(path)?;
    let mut path = path.as_slice();
    while let Some(rest) = path.strip_prefix(b"/") {
        path = rest;
    }
    if path.is_empty() {
        return Err("it names no file; write `file:/PATH`".to_owned());
    }
    let path = [b"/", path].concat();
    Ok(SourceUrl::File {
        path: PathBuf::from(OsString::from_vec(path)),
    })
}

fn s3(rest: &str) -> Result<SourceUrl, String> {
    const WRITE: &str = "write `s3://BUCKET/KEY`, or `s3://BUCKET/PREFIX/`";
    let Some(rest) = rest.strip_prefix("//") else {
        return Err(WRITE.to_owned());
    };
    let (names, query) = split_query(rest);
    let (bucket, key) = names.split_once('/').unwrap_or((names, ""));
    let bucket = decoded_text(bucket)?;
    if bucket.is_empty() {
        return Err(format!("the bucket is missing; {WRITE}"));
    }
    // The name becomes part of a host name or a path, so characters that no bucket name has must
    // not reach a request.
    if bucket.len() > 255 || !has_only(&bucket, "-._") || bucket.chars().all(|c| c == '.') {
        return Err(
            "a bucket's name (or an access point's alias) has only letters, digits, `-`, `.` and \
             `_`"
            .to_owned(),
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
    let region = good_region(region)?;
    if !key.ends_with('/') {
        return Ok(SourceUrl::S3 {
            bucket,
            key,
            version_id,
            region,
        });
    }
    if version_id.is_some() {
        return Err(
            "it ends in a slash and so names a prefix, which has no versions; leave `version_id=` \
             out"
            .to_owned(),
        );
    }
    Ok(SourceUrl::Prefix {
        bucket,
        prefix: key,
        region,
    })
}

fn secret(rest: &str) -> Result<SourceUrl, String> {
    let (id, query) = split_query(rest);
    let id = decoded_text(id)?;
    let name = match Arn::parse(&id, "secretsmanager") {
        Some(arn) => arn?
            .resource
            .strip_prefix("secret:")
            .ok_or("its ARN is of no secret")?,
        None => &id,
    };
    let has_length = (1..=512).contains(&name.len());
    if !has_length || name.starts_with("//") || !has_only(name, "/_+=.@-") {
        let message = "a secret's name has 1 to 512 letters, digits and `/_+=.@-`; write \
                       `secretsmanager:NAME` or `secretsmanager:ARN`";
        return Err(message.to_owned());
    }
    let [stages, region, field] = parameters(query, ["stages", "region", "field"])?;
    if field.as_ref().is_some_and(|field| field.len() > 256) {
        return Err("`field=` names a field of at most 256 bytes".to_owned());
    }
    let stages = match stages {
        Some(stages) => read_stages(&stages)?,
        None => DEFAULT_STAGES.into(),
    };
    Ok(SourceUrl::Secret {
        id,
        stages,
        field,
        region: good_region(region)?,
    })
}

fn read_stages(list: &str) -> Result<BTreeSet<Stage>, String> {
    let mut stages = BTreeSet::new();
    for name in list.split(',') {
        let mut known = [Stage::Current, Stage::Pending, Stage::Previous].into_iter();
        let Some(stage) = known.find(|known| known.to_string() == name) else {
            return Err(format!(
                "{name:?} is not a stage; AWSCURRENT, AWSPENDING and AWSPREVIOUS are"
            ));
        };
        if !stages.insert(stage) {
            return Err(format!("{stage} is there twice; leave one out"));
        }
    }
    if !stages.contains(&Stage::Current) {
        return Err(
            "AWSCURRENT must be among the stages: it is the document that counts".to_owned(),
        );
    }
    Ok(stages)
}

fn parameter(rest: &str) -> Result<SourceUrl, String> {
    let (id, query) = split_query(rest);
    let id = decoded_text(id)?;
    let named = match Arn::parse(&id, "ssm") {
        Some(arn) => arn?
            .resource
            .strip_prefix("parameter")
            .ok_or("its ARN is of no parameter")?,
        None => &id,
    };
    let (name, selector) = split_once(named, ':');
    let mut levels = name.strip_prefix('/').unwrap_or(name).split('/');
    let is_plain = levels.all(|level| !level.is_empty() && has_only(level, "_.-"));
    if name.len() > 1_011 || !is_plain {
        let message = "a parameter's name has letters, digits and `_.-` between its slashes; write \
                       `ssm:/NAME` or `ssm:ARN`";
        return Err(message.to_owned());
    }
    if let Some(selector) = selector
        && (!(1..=100).contains(&selector.len()) || !has_only(selector, "_.-"))
    {
        return Err("only `:VERSION` or `:LABEL` may follow the name".to_owned());
    }
    let [region] = parameters(query, ["region"])?;
    Ok(SourceUrl::Parameter {
        id,
        region: good_region(region)?,
    })
}

fn split_query(rest: &str) -> (&str, Option<&str>) {
    split_once(rest, '?')
}

/// What is before a sign and what is after it; `None` if the text does not have the sign.
fn split_once(text: &str, sign: char) -> (&str, Option<&str>) {
    match text.split_once(sign) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

/// Whether a text has only ASCII letters, digits and `signs`.
fn has_only(text: &str, signs: &str) -> bool {
    let mut characters = text.chars();
    characters.all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
}

fn good_region(region: Option<String>) -> Result<Option<String>, String> {
    match region {
        Some(region) if !is_region(&region) => {
            Err("that is not a region; write it as in `region=eu-central-1`".to_owned())
        }
        region => Ok(region),
    }
}

/// The values of a query, in the order of their `known` names.
fn parameters<const N: usize>(
    query: Option<&str>,
    known: [&str; N],
) -> Result<[Option<String>; N], String> {
    let mut values = [const { None }; N];
    let Some(query) = query else {
        return Ok(values);
    };
    for parameter in query.split('&') {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        let mut slots = std::iter::zip(known, &mut values);
        let Some((_, slot)) = slots.find(|(known, _)| *known == name) else {
            let known = known.map(|name| format!("`{name}=`")).join(" and ");
            return Err(format!(
                "the parameter {name:?} is not known, only {known}; write `%3F` for a question \
                 mark in a name"
            ));
        };
        if value.is_empty() {
            return Err(format!(
                "`{name}=` has no value; give it one or leave it out"
            ));
        }
        if slot.replace(decoded_text(value)?).is_some() {
            return Err(format!("`{name}=` is there twice; leave one out"));
        }
    }
    Ok(values)
}

fn decoded_text(text: &str) -> Result<String, String> {
    let text = String::from_utf8(decoded(text)?)
        .map_err(|_not_utf8| "what its %-escapes encode is not UTF-8".to_owned())?;
    // There are control characters outside ASCII too, which `decoded` cannot see in the bytes.
    if text.chars().any(char::is_control) {
        return Err("its %-escapes contain a control character".to_owned());
    }
    Ok(text)
}

fn decoded(text: &str) -> Result<Vec<u8>, String> {
    // If a lone `%` were accepted as itself, `100%.json` and `100%25.json` would be the same key,
    // and typing errors would go unnoticed.
    for after in text.split('%').skip(1) {
        let [first, second, ..] = after.as_bytes() else {
            return Err(LONE_PERCENT.to_owned());
        };
        if !first.is_ascii_hexdigit() || !second.is_ascii_hexdigit() {
            return Err(LONE_PERCENT.to_owned());
        }
    }
    let bytes: Vec<u8> = percent_decode_str(text).collect();
    if bytes.iter().any(u8::is_ascii_control) {
        return Err("its %-escapes contain a control character".to_owned());
    }
    Ok(bytes)
}
