//! Where the nodes of a fleet are, and which of them are selected.

use super::filter::Filter;

/// What a reader must know to tell one fleet from another. Unknown parts are left out.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope {
    /// The region in which EC2 was queried.
    pub region: Option<String>,
    /// The accounts that own the instances, in order.
    pub accounts: Vec<String>,
    /// The conditions that the instances meet.
    pub filters: Vec<Filter>,
    /// Where the report objects are: `s3://BUCKET/PREFIX/`.
    pub place: Option<String>,
}

impl Scope {
    /// All of it for people: `eu-west-1, account 123456789012, tag:Role=worker`. Empty if nothing
    /// is known.
    pub fn shown(&self) -> String {
        let mut parts = Vec::new();
        if let Some(region) = &self.region {
            parts.push(region.clone());
        }
        match self.accounts.as_slice() {
            [] => {}
            [account] => parts.push(format!("account {account}")),
            several => parts.push(format!("accounts {}", several.join(" "))),
        }
        if !self.filters.is_empty() {
            parts.push(Filter::shown(&self.filters));
        }
        if let Some(place) = &self.place {
            parts.push(format!("reports in {place}"));
        }
        parts.join(", ")
    }
}
