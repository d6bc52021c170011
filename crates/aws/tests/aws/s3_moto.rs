//! The S3 source against an S3 that keeps state: versions, conditions, names.

use std::time::Instant;

use authkeys_aws::source::AwsSources;
use authkeys_core::origin::{
    Class, Fetch, FetchError, Fetched, MAX_DOCUMENT, SourceUrl, Version, Versions,
};
use authkeys_testing::moto::Moto;
use authkeys_testing::test_name;

use crate::isolated::{isolated_as, set_profile};

pub(crate) struct Lab {
    pub(crate) moto: Moto,
    runtime: tokio::runtime::Runtime,
    sources: AwsSources,
}

/// Runs `body` with a moto server that has a bucket `keys` with versions and one `plain` without.
pub(crate) fn with_lab(body: impl FnOnce(&Lab)) {
    if !Moto::prepare() {
        return;
    }
    isolated_as(test_name(&body), &[], |home| {
        let moto = Moto::start();
        set_profile(home, &format!("endpoint_url = {}", moto.endpoint()));
        moto.make_bucket("keys");
        moto.switch_versions_on("keys");
        moto.make_bucket("plain");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        body(&Lab {
            moto,
            runtime,
            sources: AwsSources::new(),
        });
    });
}

impl Lab {
    pub(crate) fn fetch(&self, url: &str, known: Option<&Version>) -> Result<Fetched, FetchError> {
        let known = known.cloned().map(Versions::from);
        self.runtime.block_on(
            self.sources
                .fetch(&SourceUrl::parse(url).unwrap(), known.as_ref()),
        )
    }

    #[track_caller]
    pub(crate) fn document(&self, url: &str, known: Option<&Version>) -> (Vec<u8>, Version) {
        match self.fetch(url, known) {
            Ok(Fetched::Documents { current, .. }) => (current.bytes.to_vec(), current.version),
            other => panic!("{url}: {other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn fails(&self, url: &str, class: Class, part: &str) {
        let error = self.fetch(url, None).unwrap_err();
        println!("{error}");
        assert_eq!(error.class, class, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn versions_come_with_their_id_and_an_unchanged_one_does_not_come_again() {
    with_lab(|lab| {
        let url = "s3://keys/prod/workers.json";
        let first = lab
            .moto
            .put_object("keys", "prod/workers.json", b"one")
            .unwrap();
        let (bytes, version) = lab.document(url, None);
        assert_eq!((bytes.as_slice(), &version.label), (&b"one"[..], &first));
        assert_eq!(lab.fetch(url, Some(&version)), Ok(Fetched::Unchanged));

        let second = lab
            .moto
            .put_object("keys", "prod/workers.json", b"two")
            .unwrap();
        let (bytes, changed) = lab.document(url, Some(&version));
        assert_eq!((bytes.as_slice(), &changed.label), (&b"two"[..], &second));
        assert_ne!(changed, version);

        let pinned = format!("{url}?version_id={first}");
        assert_eq!(
            lab.document(&pinned, None),
            (b"one".to_vec(), version.clone())
        );
        assert_eq!(lab.fetch(&pinned, Some(&version)), Ok(Fetched::Unchanged));
        assert_eq!(lab.fetch(url, Some(&changed)), Ok(Fetched::Unchanged));
    });
}

#[test]
fn without_versions_the_etag_is_the_label() {
    with_lab(|lab| {
        assert_eq!(lab.moto.put_object("plain", "k", b"one"), None);
        let (_, version) = lab.document("s3://plain/k", None);
        assert_eq!(version.token, format!("\"{}\"", version.label));
        assert_eq!(
            lab.fetch("s3://plain/k", Some(&version)),
            Ok(Fetched::Unchanged)
        );
        // The same bytes again are the same ETag: nothing to do.
        lab.moto.put_object("plain", "k", b"one");
        assert_eq!(
            lab.fetch("s3://plain/k", Some(&version)),
            Ok(Fetched::Unchanged)
        );
        lab.moto.put_object("plain", "k", b"");
        assert_eq!(lab.document("s3://plain/k", Some(&version)).0, b"");
    });
}

#[test]
fn f36_what_is_missing_is_missing() {
    with_lab(|lab| {
        let version = lab.moto.put_object("keys", "k", b"one").unwrap();
        lab.fails("s3://keys/none", Class::Missing, "404 NoSuchKey");
        lab.fails("s3://nowhere/k", Class::Missing, "404 NoSuchBucket");
        lab.moto.delete_object("keys", "k");
        lab.fails("s3://keys/k", Class::Missing, "404 NoSuchKey");
        // What was pinned is still there.
        assert_eq!(
            lab.document(&format!("s3://keys/k?version_id={version}"), None)
                .0,
            b"one"
        );
    });
}

#[test]
fn an_object_of_more_than_one_mebibyte_is_refused() {
    with_lab(|lab| {
        lab.moto.put_object("plain", "k", &vec![b'#'; MAX_DOCUMENT]);
        assert_eq!(lab.document("s3://plain/k", None).0.len(), MAX_DOCUMENT);
        lab.moto
            .put_object("plain", "k", &vec![b'#'; MAX_DOCUMENT + 1]);
        lab.fails("s3://plain/k", Class::Invalid, "more than 1 MiB");
    });
}

#[test]
fn names_are_sent_as_they_are() {
    with_lab(|lab| {
        let keys = [
            "a%20b",
            "a%2Bb",
            "a%25b",
            "a%2525b",
            "a%3Fb",
            "%C3%BC/%E9%8D%B5",
            "a%23b",
            "a%26b%3Dc",
            "x/../y",
            "/x",
            "x//y",
        ];
        for key in keys {
            lab.moto.put_object("plain", key, key.as_bytes());
        }
        for key in keys {
            assert_eq!(
                lab.document(&format!("s3://plain/{key}"), None).0,
                key.as_bytes(),
                "{key}"
            );
        }
    });
}

#[test]
fn an_unchanged_poll_is_quick() {
    with_lab(|lab| {
        lab.moto.put_object("keys", "k", b"one");
        let start = Instant::now();
        let (_, version) = lab.document("s3://keys/k", None);
        let first = start.elapsed();
        let start = Instant::now();
        for _ in 0..20 {
            assert_eq!(
                lab.fetch("s3://keys/k", Some(&version)),
                Ok(Fetched::Unchanged)
            );
        }
        println!(
            "first fetch, SDK set up: {first:?}; unchanged poll: {:?}",
            start.elapsed() / 20
        );
        assert!(start.elapsed().as_secs() < 10);
    });
}
