//! Which of a secret's documents are in force together, given what was read of each stage. Pure.

use std::collections::BTreeMap;

use super::{Fetched, Part, Stage, Versions};

/// What was read of one stage.
#[derive(Debug)]
pub struct Read {
    /// The document.
    pub part: Part,
    /// Every stage label of the version.
    pub labels: Vec<String>,
}

/// Combines the stages. `further` contains only stages whose version has a value.
pub fn together(
    current: Part,
    further: BTreeMap<Stage, Read>,
    known: Option<&Versions>,
) -> Fetched {
    let mut documents: BTreeMap<Stage, Part> = BTreeMap::new();
    for (stage, read) in further {
        // A finished rotation leaves AWSPENDING on its version. While that version is also
        // AWSCURRENT, it is one document. Once it is AWSPREVIOUS, it was current and has been
        // replaced, so it must not stay in force as a pending one.
        let over = stage == Stage::Pending
            && read
                .labels
                .iter()
                .any(|label| *label == Stage::Previous.to_string());
        let twice = current.version == read.part.version
            || documents
                .values()
                .any(|other| other.version == read.part.version);
        if !over && !twice {
            documents.insert(stage, read.part);
        }
    }
    let further = documents
        .iter()
        .map(|(stage, part)| (*stage, part.version.clone()))
        .collect();
    let versions = Versions {
        current: current.version.clone(),
        further,
    };
    match known {
        Some(known) if *known == versions => Fetched::Unchanged,
        _ => Fetched::Documents {
            current,
            further: documents,
        },
    }
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::super::Version;
    use super::*;
    use Stage::{Pending, Previous};

    fn part(version: &str) -> Part {
        let version = Version {
            label: version.to_owned(),
            token: version.to_owned(),
        };
        Part {
            version,
            created: None,
            bytes: Zeroizing::new(Vec::new()),
        }
    }

    /// The stages and versions that are in force when `current` and `further` (version, other
    /// labels) were read.
    fn in_force(current: &str, further: &[(Stage, &str, &[Stage])]) -> Vec<(Stage, String)> {
        let read = |(stage, version, others): &(Stage, &str, &[Stage])| {
            let labels = others.iter().chain([stage]).map(Stage::to_string).collect();
            (
                *stage,
                Read {
                    part: part(version),
                    labels,
                },
            )
        };
        match together(part(current), further.iter().map(read).collect(), None) {
            Fetched::Documents { current, further } => std::iter::once((Stage::Current, current))
                .chain(further)
                .map(|(stage, part)| (stage, part.version.label))
                .collect(),
            Fetched::Unchanged => panic!("nothing was known"),
        }
    }

    fn named(stages: &[(Stage, &str)]) -> Vec<(Stage, String)> {
        stages
            .iter()
            .map(|(stage, version)| (*stage, (*version).to_owned()))
            .collect()
    }

    #[test]
    fn the_documents_of_all_stages_are_in_force_together_each_version_once() {
        let current = (Stage::Current, "v2");
        assert_eq!(in_force("v2", &[]), named(&[current]));
        assert_eq!(
            in_force("v2", &[(Pending, "v3", &[])]),
            named(&[current, (Pending, "v3")])
        );
        assert_eq!(
            in_force("v2", &[(Pending, "v2", &[Stage::Current])]),
            named(&[current])
        );
        let all: [(Stage, &str, &[Stage]); 2] = [(Pending, "v3", &[]), (Previous, "v1", &[])];
        assert_eq!(
            in_force("v2", &all),
            named(&[current, (Pending, "v3"), (Previous, "v1")])
        );
    }

    #[test]
    fn f10_a_stage_that_a_finished_rotation_left_behind_brings_no_old_key_back() {
        let left: [(Stage, &str, &[Stage]); 1] = [(Pending, "v2", &[Previous])];
        assert_eq!(in_force("v3", &left), named(&[(Stage::Current, "v3")]));
        // Where the previous document is wanted, it is wanted as that.
        let both: [(Stage, &str, &[Stage]); 2] =
            [(Pending, "v2", &[Previous]), (Previous, "v2", &[Pending])];
        assert_eq!(
            in_force("v3", &both),
            named(&[(Stage::Current, "v3"), (Previous, "v2")])
        );
    }

    #[test]
    fn what_is_known_in_every_stage_is_unchanged() {
        let known = Versions {
            current: part("v1").version,
            further: [(Pending, part("v2").version)].into(),
        };
        let pending = |version| {
            BTreeMap::from([(
                Pending,
                Read {
                    part: part(version),
                    labels: Vec::new(),
                },
            )])
        };
        assert_eq!(
            together(part("v1"), pending("v2"), Some(&known)),
            Fetched::Unchanged
        );
        for (current, further) in [
            ("v2", pending("v2")),
            ("v1", pending("v3")),
            ("v1", BTreeMap::new()),
            ("v3", pending("v2")),
        ] {
            assert_ne!(
                together(part(current), further, Some(&known)),
                Fetched::Unchanged
            );
        }
    }
}
