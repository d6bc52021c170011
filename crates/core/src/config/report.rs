//! `[report]`: where the node's status is reported, and how often.

use std::path::PathBuf;

use jiff::SignedDuration;

use super::path;
use super::reader::{Faults, Section, boolean, string};
use super::{set, value_of};
use crate::encryption::Encryption;
use crate::origin::SourceUrl;
use crate::report::tags::TagNames;
use crate::schedule::Pace;

/// What `[report]` says, with the defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// Tag the node's own instance.
    pub ec2_tags: bool,
    /// The names of the tags.
    pub tag_names: TagNames,
    /// How often reports are sent, and how far they are spread over the fleet.
    pub pace: Pace,
    /// Where the node's report object goes.
    pub s3: Option<ReportPrefix>,
    /// The metrics file for node_exporter.
    pub prometheus: Option<PathBuf>,
}

/// `s3://BUCKET/PREFIX[?region=R]`: each node writes one object below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportPrefix {
    /// The bucket's name.
    pub bucket: String,
    /// Empty, or ends with a slash.
    pub prefix: String,
    /// The bucket's region; if `None`, the environment's, then IMDSv2's.
    pub region: Option<String>,
    /// The encryption to request from S3; `None`: the bucket's default.
    pub encryption: Option<Encryption>,
}

impl Default for Report {
    fn default() -> Self {
        let pace = Pace {
            heartbeat: SignedDuration::from_hours(6),
            spread: SignedDuration::from_secs(30),
        };
        Self {
            ec2_tags: false,
            tag_names: TagNames::default(),
            pace,
            s3: None,
            prometheus: None,
        }
    }
}

impl ReportPrefix {
    /// Parses the URL by the same rules as source URLs.
    pub fn parse(url: &str) -> Result<Self, String> {
        const WRITE: &str = "write `s3://BUCKET/PREFIX/`";
        let (place, query) = match url.split_once('?') {
            Some((place, query)) => (place, format!("?{query}")),
            None => (url, String::new()),
        };
        let slash = if place.ends_with('/') { "" } else { "/" };
        match SourceUrl::parse(&format!("{place}{slash}NODE{query}")) {
            Ok(SourceUrl::S3 {
                bucket,
                key,
                version_id: None,
                region,
            }) => {
                let prefix = key.strip_suffix("NODE").unwrap_or_default().to_owned();
                Ok(Self {
                    bucket,
                    prefix,
                    region,
                    encryption: None,
                })
            }
            _ => Err(format!(
                "{url:?} is not a place for report objects; {WRITE}, with `?region=REGION` if need \
                 be"
            )),
        }
    }

    /// The URL, for display.
    pub fn url(&self) -> String {
        format!("s3://{}/{}", self.bucket, self.prefix)
    }
}

pub(super) fn read(mut section: Section<'_, '_>, faults: &mut Faults<'_>) -> Report {
    let mut report = Report::default();
    let ec2_tags = section.take(faults, "ec2_tags", boolean);
    let prefix = section.take(faults, "tag_prefix", string(TagNames::parse_prefix));
    let key_name = section.take(faults, "key_name_tag", string(TagNames::parse_key_name));
    let heartbeat = section.take(faults, "heartbeat", string(heartbeat));
    let spread = section.take(faults, "report_spread", string(spread));
    let s3 = section.take(faults, "s3", string(ReportPrefix::parse));
    let encryption = section.take(faults, "s3_sse", string(str::parse::<Encryption>));
    let prometheus = section.take(faults, "prometheus", string(metrics_file));
    set(&mut report.ec2_tags, ec2_tags);
    set(&mut report.pace.heartbeat, heartbeat);
    set(&mut report.pace.spread, spread);
    let at = match &key_name {
        Some(key_name) => key_name.at,
        None => section.at(),
    };
    match TagNames::new(value_of(prefix), value_of(key_name)) {
        Ok(names) => report.tag_names = names,
        Err(fault) => faults.add(at, &section.name("key_name_tag"), fault),
    }
    if let (Some(encryption), false) = (&encryption, section.has("s3")) {
        faults.add(
            encryption.at,
            &section.name("s3_sse"),
            "needs `s3` beside it",
        );
    }
    report.s3 = value_of(s3);
    if let Some(place) = &mut report.s3 {
        place.encryption = value_of(encryption);
    }
    report.prometheus = value_of(prometheus);
    section.finish(faults);
    report
}

fn heartbeat(text: &str) -> Result<SignedDuration, String> {
    let second = SignedDuration::from_secs(1);
    let leap_year = SignedDuration::from_hours(366 * 24);
    match text.parse::<SignedDuration>() {
        Ok(time) if (second..=leap_year).contains(&time) => Ok(time),
        _ => Err(format!(
            "{text:?} is not a time from \"1s\" to \"8784h\" (366 days), such as \"6h\""
        )),
    }
}

fn spread(text: &str) -> Result<SignedDuration, String> {
    let day = SignedDuration::from_hours(24);
    match text.parse::<SignedDuration>() {
        Ok(time) if !time.is_negative() && time <= day => Ok(time),
        _ => Err(format!(
            "{text:?} is not a time from \"0s\" to \"24h\"; for a large fleet its number of nodes \
             / 5, in seconds"
        )),
    }
}

/// node_exporter reads only files whose name ends in `.prom`.
fn metrics_file(text: &str) -> Result<PathBuf, String> {
    let path = path::absolute(text)?;
    let named = path
        .extension()
        .is_some_and(|extension| extension == "prom");
    if named {
        Ok(path)
    } else {
        Err(format!(
            "{text:?} must end in \".prom\", or node_exporter does not read it"
        ))
    }
}
