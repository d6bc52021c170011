use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use proptest::prelude::*;

use super::*;

fn s3(bucket: &str, key: &str, version_id: Option<&str>, region: Option<&str>) -> SourceUrl {
    let [version_id, region] = [version_id, region].map(|value| value.map(str::to_owned));
    SourceUrl::S3 {
        bucket: bucket.to_owned(),
        key: key.to_owned(),
        version_id,
        region,
    }
}

fn file(path: &str) -> SourceUrl {
    SourceUrl::File {
        path: PathBuf::from(path),
    }
}

#[test]
fn good_urls_are_read_and_shown_in_their_canonical_form() {
    let cases = [
        (
            "file:/etc/keys.json",
            file("/etc/keys.json"),
            "file:/etc/keys.json",
        ),
        (
            "file:///etc/keys.json",
            file("/etc/keys.json"),
            "file:/etc/keys.json",
        ),
        ("file:////etc/keys", file("/etc/keys"), "file:/etc/keys"),
        ("file:/%2Fetc/keys", file("/etc/keys"), "file:/etc/keys"),
        (
            "file:/a b/ü%3F+",
            file("/a b/ü?+"),
            "file:/a%20b/%C3%BC%3F%2B",
        ),
        ("file:/k?region=eu-west-1", file("/k"), "file:/k"),
        ("s3://b/k", s3("b", "k", None, None), "s3://b/k"),
        (
            "s3://my-b.x_1/a/b.json",
            s3("my-b.x_1", "a/b.json", None, None),
            "s3://my-b.x_1/a/b.json",
        ),
        ("s3://b//k", s3("b", "/k", None, None), "s3://b//k"),
        (
            "s3://b/a+b c%2525",
            s3("b", "a+b c%25", None, None),
            "s3://b/a%2Bb%20c%2525",
        ),
        (
            "s3://b/k?version_id=a%26b",
            s3("b", "k", Some("a&b"), None),
            "s3://b/k?version_id=a%26b",
        ),
        (
            "s3://b/k?region=eu-central-1&version_id=V1",
            s3("b", "k", Some("V1"), Some("eu-central-1")),
            "s3://b/k?version_id=V1&region=eu-central-1",
        ),
    ];
    for (text, url, canonical) in cases {
        assert_eq!(SourceUrl::parse(text).as_ref(), Ok(&url), "{text}");
        assert_eq!(url.to_string(), canonical);
        assert_eq!(
            SourceUrl::parse(canonical).as_ref(),
            Ok(&url),
            "{canonical}"
        );
        assert_eq!(url.mark(), canonical.split('?').next().unwrap());
    }
}

#[test]
fn what_ends_in_a_slash_is_a_prefix() {
    let prefix = |prefix: &str, region: Option<&str>| SourceUrl::Prefix {
        bucket: "b".to_owned(),
        prefix: prefix.to_owned(),
        region: region.map(str::to_owned),
    };
    for (text, url, canonical) in [
        ("s3://b/keys/", prefix("keys/", None), "s3://b/keys/"),
        ("s3://b/a/b%20c/", prefix("a/b c/", None), "s3://b/a/b%20c/"),
        ("s3://b//k/", prefix("/k/", None), "s3://b//k/"),
        (
            "s3://b/k%2F?region=eu-west-1",
            prefix("k/", Some("eu-west-1")),
            "s3://b/k/?region=eu-west-1",
        ),
    ] {
        assert_eq!(SourceUrl::parse(text).as_ref(), Ok(&url), "{text}");
        assert_eq!(url.to_string(), canonical);
        assert_eq!(
            SourceUrl::parse(canonical).as_ref(),
            Ok(&url),
            "{canonical}"
        );
    }
    let pinned = SourceUrl::parse("s3://b/keys/?version_id=V").unwrap_err();
    assert!(pinned.to_string().contains("has no versions"), "{pinned}");
    assert!(SourceUrl::parse("s3://b/").is_err());
}

#[test]
fn secrets_and_parameters_are_named_by_name_or_arn() {
    let secret = "arn:aws-us-gov:secretsmanager:us-gov-west-1:123456789012:secret:prod/ssh-AbC123";
    let parameter = "arn:aws:ssm:eu-west-1:123456789012:parameter/prod/keys:3";
    let cases = [
        (
            "secretsmanager:prod/ssh",
            "secretsmanager:prod/ssh",
            None,
            "AWSCURRENT AWSPENDING",
        ),
        (
            "secretsmanager:a_b+c=d.e@f-g",
            "secretsmanager:a_b+c=d.e@f-g",
            None,
            "AWSCURRENT AWSPENDING",
        ),
        (
            "secretsmanager:prod%2Fssh%2B",
            "secretsmanager:prod/ssh+",
            None,
            "AWSCURRENT AWSPENDING",
        ),
        (
            "secretsmanager:/k?stages=AWSCURRENT",
            "secretsmanager:/k?stages=AWSCURRENT",
            None,
            "AWSCURRENT",
        ),
        (
            "secretsmanager:k?stages=AWSPENDING,AWSCURRENT",
            "secretsmanager:k",
            None,
            "AWSCURRENT AWSPENDING",
        ),
        (
            "secretsmanager:k?region=eu-west-1&stages=AWSPREVIOUS%2CAWSCURRENT",
            "secretsmanager:k?stages=AWSCURRENT,AWSPREVIOUS&region=eu-west-1",
            Some("eu-west-1"),
            "AWSCURRENT AWSPREVIOUS",
        ),
        (
            &format!("secretsmanager:{secret}"),
            &format!("secretsmanager:{secret}"),
            Some("us-gov-west-1"),
            "AWSCURRENT AWSPENDING",
        ),
        (
            &format!("secretsmanager:{secret}?region=us-gov-east-1"),
            &format!("secretsmanager:{secret}?region=us-gov-east-1"),
            Some("us-gov-east-1"),
            "AWSCURRENT AWSPENDING",
        ),
        ("ssm:/prod/keys", "ssm:/prod/keys", None, "AWSCURRENT"),
        ("ssm:keys:12", "ssm:keys:12", None, "AWSCURRENT"),
        (
            "ssm:%2Fkeys%3Alive?region=eu-west-1",
            "ssm:/keys:live?region=eu-west-1",
            Some("eu-west-1"),
            "AWSCURRENT",
        ),
        (
            &format!("ssm:{parameter}"),
            &format!("ssm:{parameter}"),
            Some("eu-west-1"),
            "AWSCURRENT",
        ),
    ];
    for (text, canonical, region, stages) in cases {
        let url = SourceUrl::parse(text).unwrap();
        assert_eq!(
            (url.to_string().as_str(), url.region()),
            (canonical, region)
        );
        assert_eq!(SourceUrl::parse(canonical).as_ref(), Ok(&url));
        assert_eq!(url.mark(), canonical.split('?').next().unwrap());
        assert_eq!(
            url.stages()
                .iter()
                .map(Stage::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            stages
        );
    }
}

#[test]
fn a_field_of_a_secret_is_a_document_of_its_own() {
    let whole = SourceUrl::parse("secretsmanager:team").unwrap();
    let field = |text: &str| SourceUrl::parse(text).unwrap();
    let ann = field("secretsmanager:team?region=eu-west-1&field=ann%20key&stages=AWSCURRENT");
    assert_eq!(
        ann.to_string(),
        "secretsmanager:team?field=ann%20key&stages=AWSCURRENT&region=eu-west-1"
    );
    assert_eq!(SourceUrl::parse(&ann.to_string()).as_ref(), Ok(&ann));
    assert_eq!(
        (ann.field(), ann.region(), whole.field()),
        (Some("ann key"), Some("eu-west-1"), None)
    );
    assert_eq!(
        ann.mark(),
        field("secretsmanager:team?field=ann%20key").mark()
    );
    assert!(
        ann.mark() != whole.mark() && ann.mark() != field("secretsmanager:team?field=ann").mark()
    );
    for bad in [
        "secretsmanager:k?field=",
        "secretsmanager:k?field=a&field=b",
        "ssm:/k?field=a",
        "s3://b/k?field=a",
    ] {
        assert!(SourceUrl::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn bad_urls_say_what_to_write() {
    let cases = [
        (
            "",
            "write `s3://BUCKET/KEY`, `secretsmanager:NAME`, `ssm:/NAME` or `file:/PATH`",
        ),
        ("keys.json", "`ssm:/NAME` or `file:/PATH`"),
        ("/etc/keys", "a file is written `file:/etc/keys`"),
        ("file:keys", "must be absolute"),
        ("file://host/keys", "must be absolute"),
        ("file:/", "names no file"),
        ("file:/k?region=a.b", "that is not a region"),
        ("file:/k?region=", "`region=` has no value"),
        (
            "file:/k?version_id=1",
            "only `region=`; write `%3F` for a question mark",
        ),
        ("file:/k?", "the parameter \"\" is not known"),
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
        (
            "s3://arn:aws:s3:eu-west-1:1:accesspoint/a/k",
            "a bucket's name",
        ),
        ("s3://b/k\n", "control character"),
        ("s3://b/k%0a", "control character"),
        ("s3://b/k%C2%85", "control character"),
        ("s3://b/k%ff", "not UTF-8"),
        ("s3://b/k?", "the parameter \"\" is not known"),
        ("s3://b/k?versionId=1", "only `version_id=` and `region=`"),
        ("s3://b/k?region=", "`region=` has no value"),
        ("s3://b/k?version_id", "`version_id=` has no value"),
        ("s3://b/k?region=a&region=a", "`region=` is there twice"),
        ("s3://b/k?region=a.evil.example%2F", "that is not a region"),
        ("s3://b/k?region=a&", "the parameter \"\" is not known"),
        ("secretsmanager:", "a secret's name has"),
        ("secretsmanager://prod/keys", "write `secretsmanager:NAME`"),
        ("secretsmanager:prod:keys", "a secret's name has"),
        ("secretsmanager:prod%20keys", "a secret's name has"),
        (
            "secretsmanager:arn:aws:ssm:eu-west-1:123456789012:parameter/x",
            "not of secretsmanager",
        ),
        (
            "secretsmanager:arn:aws:secretsmanager:eu-west-1:123456789012:policy:x",
            "of no secret",
        ),
        (
            "secretsmanager:k?stages=AWSPENDING",
            "AWSCURRENT must be among",
        ),
        (
            "secretsmanager:k?stages=AWSCURRENT,awspending",
            "\"awspending\" is not a stage",
        ),
        ("secretsmanager:k?stages=AWSCURRENT,", "\"\" is not a stage"),
        ("secretsmanager:k?stages=AWSCURRENT,AWSCURRENT", "twice"),
        (
            "secretsmanager:k?stage=AWSCURRENT",
            "only `stages=` and `region=`",
        ),
        ("secretsmanager:k?region=a.b", "that is not a region"),
        ("ssm:", "a parameter's name has"),
        ("ssm:/", "a parameter's name has"),
        ("ssm://keys", "a parameter's name has"),
        ("ssm:/a//b", "a parameter's name has"),
        ("ssm:/keys:", "only `:VERSION`"),
        ("ssm:/keys:1:2", "only `:VERSION`"),
        ("ssm:/keys?version=1", "only `region=`"),
        (
            "ssm:arn:aws:ssm:eu-west-1:123456789012:document/x",
            "of no parameter",
        ),
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
    assert_eq!(
        url,
        SourceUrl::File {
            path: PathBuf::from(OsString::from_vec(b"/k\xff".to_vec()))
        }
    );
    assert_eq!(url.to_string(), "file:/k%FF");
}

proptest! {
    #[test]
    fn every_s3_url_round_trips(
        bucket in "[a-z0-9][A-Za-z0-9._-]{0,20}",
        key in "\\PC{0,59}[^/\\pC]",
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
    fn what_parses_is_stable_and_nothing_panics(text in "(s3://|file:/|secretsmanager:|ssm:|)\\PC{0,40}") {
        if let Ok(url) = SourceUrl::parse(&text) {
            prop_assert_eq!(SourceUrl::parse(&url.to_string()), Ok(url));
        }
    }
}
