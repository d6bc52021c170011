//! A key set in S3, where `authkeysctl` publishes and edits it.

use authkeys_testing::moto::Moto;
use authkeys_testing::{Run, clean_ctl, outcome_of, stand_in};

use crate::desk::{Desk, bucket};

pub(crate) const TARGET: &str = "s3://keys/prod/workers.json";

pub(crate) struct Bucket {
    pub(crate) moto: Moto,
    pub(crate) desk: Desk,
}

impl Bucket {
    pub(crate) fn new() -> Option<Self> {
        let (moto, desk) = bucket()?;
        Some(Self { moto, desk })
    }

    pub(crate) fn with(text: &str) -> Option<Self> {
        let bucket = Self::new()?;
        bucket.put(text);
        Some(bucket)
    }

    pub(crate) fn put(&self, text: impl AsRef<[u8]>) {
        self.moto
            .put_object("keys", "prod/workers.json", text.as_ref());
    }

    pub(crate) fn published(&self) -> String {
        self.moto.object("keys", "prod/workers.json")
    }

    pub(crate) fn run(&self, command: &str, target: &str, more: &[&str]) -> Run {
        let mut ctl = clean_ctl();
        outcome_of(
            ctl.envs(stand_in(&self.moto.endpoint()))
                .arg(command)
                .arg(target)
                .args(more),
        )
    }

    pub(crate) fn grant(&self, more: &[&str]) -> Run {
        self.run("grant", TARGET, more)
    }

    pub(crate) fn revoke(&self, more: &[&str]) -> Run {
        self.run("revoke", TARGET, more)
    }
}
