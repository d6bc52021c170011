//! The three services with what was published there, for the commands that look back.

use std::time::Duration;

use authkeys_testing::moto::Moto;
use authkeys_testing::{Key, Run, clean_ctl, outcome_of, stand_in};
use serde_json::Value;

use crate::desk::{Desk, bucket};

pub(crate) const OBJECT: &str = "s3://keys/prod/workers.json";

pub(crate) struct Cloud {
    pub(crate) moto: Moto,
    pub(crate) desk: Desk,
}

impl Cloud {
    pub(crate) fn new() -> Option<Self> {
        let (moto, desk) = bucket()?;
        Some(Self { moto, desk })
    }

    pub(crate) fn versioned() -> Option<Self> {
        let cloud = Self::new()?;
        cloud.moto.switch_versions_on("keys");
        Some(cloud)
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Run {
        outcome_of(
            clean_ctl()
                .envs(stand_in(&self.moto.endpoint()))
                .args(arguments),
        )
    }

    /// What is printed as JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let run = self.run(&[arguments, &["--json"]].concat());
        assert_eq!(run.status, 0, "{run:?}");
        serde_json::from_str(&run.stdout).unwrap()
    }

    pub(crate) fn publish(&self, target: &str, text: &str) -> Run {
        self.desk.file("document", text);
        let run = self.desk.publish("document", target, &["--yes"]);
        assert_eq!(run.status, 0, "{run:?}");
        run
    }

    /// The versions that `history` tells of, the newest first.
    pub(crate) fn versions(&self, source: &str) -> Vec<Value> {
        self.json(&["history", source])["versions"]
            .as_array()
            .unwrap()
            .clone()
    }
}

/// The id of a version that `history` tells of.
pub(crate) fn id(version: &Value) -> &str {
    version["stored_version"].as_str().unwrap()
}

/// The services count in seconds.
pub(crate) fn next_second() {
    std::thread::sleep(Duration::from_millis(1_100));
}

/// A document that also revokes this key.
pub(crate) fn without(text: &str, key: &Key) -> String {
    let revoked = format!("  ],\n  \"revoked\": [\"{}\"]\n", key.fingerprint());
    text.replacen("  ]\n", &revoked, 1)
}
