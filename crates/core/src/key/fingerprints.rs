//! A set of fingerprints that can be shared.

use std::collections::BTreeSet;
use std::ops::Deref;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Fingerprint;

/// A set of fingerprints. Clones share the data until one of them grows.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FingerprintSet(Arc<BTreeSet<Fingerprint>>);

impl Deref for FingerprintSet {
    type Target = BTreeSet<Fingerprint>;

    fn deref(&self) -> &BTreeSet<Fingerprint> {
        &self.0
    }
}

impl Extend<Fingerprint> for FingerprintSet {
    fn extend<I: IntoIterator<Item = Fingerprint>>(&mut self, fingerprints: I) {
        for fingerprint in fingerprints {
            // It is usually present already, and then nothing is copied.
            if !self.0.contains(&fingerprint) {
                Arc::make_mut(&mut self.0).insert(fingerprint);
            }
        }
    }
}

impl Serialize for FingerprintSet {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for FingerprintSet {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BTreeSet::deserialize(deserializer).map(|fingerprints| Self(Arc::new(fingerprints)))
    }
}
