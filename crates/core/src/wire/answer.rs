//! The installer's check of each answer: it must match the request and its limits, and its text
//! must be safe for a terminal. Anything else is a transient failure, because another fetcher
//! process may handle the next request.

use std::collections::BTreeMap;
use std::fmt::Display;

use super::{Answer, DocumentHead, Frame, MayTag};
use crate::nudge::Sight;
use crate::origin::instance::{Instance, NoInstance};
use crate::origin::{Class, FetchError, Fetched, Part, SourceUrl, Stage, Version};
use crate::words::{cut, plain};

/// The most characters of a message or a remedy.
const MAX_TEXT: usize = 4_000;
/// The most bytes of a version's label or token. S3's version ids have up to 1,024 bytes.
const MAX_VERSION: usize = 1_024;

/// The answer to a fetch from `url`.
pub fn fetched(answer: Frame<Answer>, url: &SourceUrl) -> Result<Fetched, FetchError> {
    match answer.message {
        Answer::Unchanged if answer.parts.is_empty() => Ok(Fetched::Unchanged),
        Answer::Documents { documents } if documents.len() == answer.parts.len() => {
            let parts = documents.into_iter().zip(answer.parts);
            let mut stages = BTreeMap::new();
            for (head, bytes) in parts {
                let (stage, part) = document(head, bytes).ok_or_else(|| unfit(url))?;
                if !url.stages().contains(&stage) || stages.insert(stage, part).is_some() {
                    return Err(unfit(url));
                }
            }
            let current = stages.remove(&Stage::Current).ok_or_else(|| unfit(url))?;
            Ok(Fetched::Documents {
                current,
                further: stages,
            })
        }
        other => Err(failure(other, url)),
    }
}

/// The answer to the question which instance this is.
pub fn instance(answer: Frame<Answer>) -> Result<Instance, NoInstance> {
    match answer.message {
        Answer::Instance(instance) if instance.is_valid() => Ok(instance),
        Answer::NoInstance(NoInstance::Disabled) => Err(NoInstance::Disabled),
        Answer::NoInstance(NoInstance::NotOnEc2 { why }) => {
            Err(NoInstance::NotOnEc2 { why: text(&why) })
        }
        Answer::NoInstance(NoInstance::Unreachable { why }) => {
            Err(NoInstance::Unreachable { why: text(&why) })
        }
        other => Err(NoInstance::Unreachable {
            why: failure(other, &"could not be asked").to_string(),
        }),
    }
}

/// The answer to a check of a tag.
pub fn sight(answer: Frame<Answer>) -> Result<Sight, FetchError> {
    match answer.message {
        Answer::Nudge {
            sight: Sight::Unreadable { why },
        } => Ok(Sight::Unreadable { why: text(&why) }),
        Answer::Nudge { sight } => Ok(sight),
        other => Err(failure(other, &"nudge")),
    }
}

/// The answer to a command. `subject` begins the message of a failure.
pub fn done(answer: Frame<Answer>, subject: &str) -> Result<(), FetchError> {
    match answer.message {
        Answer::Done => Ok(()),
        other => Err(failure(other, &subject)),
    }
}

/// The answer to the question whether the instance may be tagged.
pub fn may_tag(answer: Frame<Answer>) -> Result<MayTag, FetchError> {
    match answer.message {
        Answer::MayTag(MayTag {
            allowed,
            instance,
            arn,
        }) => Ok(MayTag {
            allowed,
            instance: text(&instance),
            arn: text(&arn),
        }),
        other => Err(failure(other, &"tags")),
    }
}

/// A document that may be examined further; `None` if its header exceeds a limit.
fn document(head: DocumentHead, bytes: zeroize::Zeroizing<Vec<u8>>) -> Option<(Stage, Part)> {
    let Version { label, token } = head.version;
    if label.len() > MAX_VERSION || token.len() > MAX_VERSION {
        return None;
    }
    let version = Version {
        label: plain(&label, '?'),
        token,
    };
    Some((
        head.stage,
        Part {
            version,
            created: head.created,
            bytes,
        },
    ))
}

/// The failure in the answer, or the fault that the answer does not match the request.
fn failure(answer: Answer, subject: &impl Display) -> FetchError {
    match answer {
        Answer::Failed(FetchError {
            code,
            class,
            message,
            remedy,
        }) => FetchError {
            code: code.filter(|code| class.fits(*code)),
            class,
            message: text(&message),
            remedy: text(&remedy),
        },
        _ => unfit(subject),
    }
}

fn unfit(subject: &impl Display) -> FetchError {
    FetchError {
        code: None,
        class: Class::Transient,
        message: format!("{subject}: authkeysd-fetch gave an answer that does not fit the request"),
        remedy: "the versions of authkeysd and authkeysd-fetch must be the same: install the \
                 package again, and restart both"
            .to_owned(),
    }
}

fn text(text: &str) -> String {
    plain(&cut(text, MAX_TEXT), '?')
}

#[cfg(test)]
mod tests {
    use zeroize::Zeroizing;

    use super::*;

    fn frame(message: Answer, parts: &[&[u8]]) -> Frame<Answer> {
        Frame {
            id: 1,
            message,
            parts: parts
                .iter()
                .map(|part| Zeroizing::new(part.to_vec()))
                .collect(),
        }
    }

    fn version(label: &str) -> Version {
        Version {
            label: label.to_owned(),
            token: format!("token of {label}"),
        }
    }

    fn documents(heads: &[(Stage, &str)]) -> Answer {
        let head = |(stage, label): &(Stage, &str)| DocumentHead {
            stage: *stage,
            version: version(label),
            created: None,
        };
        Answer::Documents {
            documents: heads.iter().map(head).collect(),
        }
    }

    fn url(text: &str) -> SourceUrl {
        SourceUrl::parse(text).unwrap()
    }

    #[test]
    fn documents_are_taken_with_the_stages_that_were_asked_for() {
        let secret = url("secretsmanager:keys?stages=AWSCURRENT,AWSPENDING");
        let both = documents(&[(Stage::Pending, "p"), (Stage::Current, "c\u{1b}[2J")]);
        let Ok(Fetched::Documents { current, further }) =
            fetched(frame(both.clone(), &[b"pending", b"current"]), &secret)
        else {
            panic!("refused")
        };
        assert_eq!(
            (current.version.label.as_str(), current.bytes.as_slice()),
            ("c?[2J", b"current".as_slice())
        );
        assert_eq!(
            current.version.token, "token of c\u{1b}[2J",
            "what is sent back stays as it came"
        );
        assert_eq!(further[&Stage::Pending].bytes.as_slice(), b"pending");

        let object = url("s3://bucket/key");
        let refused: [(Answer, &[&[u8]]); 8] = [
            (both, &[b"p", b"c"]),
            (documents(&[]), &[]),
            (documents(&[(Stage::Current, "1")]), &[]),
            (documents(&[(Stage::Current, "1")]), &[b"1", b"2"]),
            (
                documents(&[(Stage::Current, "1"), (Stage::Current, "2")]),
                &[b"1", b"2"],
            ),
            (
                documents(&[(Stage::Current, &"v".repeat(MAX_VERSION + 1))]),
                &[b"1"],
            ),
            (Answer::Unchanged, &[b"1"]),
            (Answer::Done, &[]),
        ];
        for (answer, parts) in refused {
            let shown = format!("{answer:?}");
            let failure = fetched(frame(answer, parts), &object).unwrap_err();
            assert_eq!(failure.class, Class::Transient, "{shown}");
            assert!(
                failure
                    .message
                    .starts_with("s3://bucket/key: authkeysd-fetch"),
                "{shown}: {failure}"
            );
        }
    }

    #[test]
    fn text_is_bounded_and_fit_for_a_terminal() {
        let hostile = "\u{1b}]0;owned\u{7}\\n\u{202e}".to_owned() + &"x".repeat(1 << 15);
        let failed = FetchError {
            code: None,
            class: Class::Denied,
            message: hostile.clone(),
            remedy: hostile.clone(),
        };
        let failure = fetched(frame(Answer::Failed(failed), &[]), &url("s3://b/k")).unwrap_err();
        let no_instance = Answer::NoInstance(NoInstance::Unreachable {
            why: hostile.clone(),
        });
        let instance = instance(frame(no_instance, &[])).unwrap_err();
        let allowed = MayTag {
            allowed: true,
            instance: hostile.clone(),
            arn: hostile,
        };
        let allowed = may_tag(frame(Answer::MayTag(allowed), &[])).unwrap();
        for text in [
            failure.to_string(),
            instance.to_string(),
            allowed.instance,
            allowed.arn,
        ] {
            assert!(
                text.len() < 3 * MAX_TEXT && !text.contains(crate::words::is_deceptive),
                "{text:.80}"
            );
        }
        assert_eq!(failure.class, Class::Denied);
    }

    #[test]
    fn a_sight_is_a_mark_and_never_a_tags_value() {
        let seen = |tag: &str| {
            let json = format!(r#"{{"answer":"nudge","sight":{tag}}}"#);
            let message: Result<Answer, _> = serde_json::from_str(&json);
            message
                .ok()
                .and_then(|message| sight(frame(message, &[])).ok())
        };
        assert_eq!(seen(r#"{"tag":"absent"}"#), Some(Sight::Absent));
        assert!(seen(r#"{"tag":"present","mark":"0123456789abcdef"}"#).is_some());
        for bad in [
            r#"{"tag":"present","mark":"workers/17"}"#,
            r#"{"tag":"present","mark":"0123456789abcdef0"}"#,
            r#"{"tag":"present"}"#,
            r#"{"tag":"root"}"#,
        ] {
            assert_eq!(seen(bad), None, "{bad}");
        }
        let Some(Sight::Unreadable { why }) =
            seen(r#"{"tag":"unreadable","why":"\u001b[2J\u202eoff"}"#)
        else {
            panic!("refused")
        };
        assert_eq!(why, "?[2J?off");
        assert!(sight(frame(Answer::Done, &[])).is_err());
    }

    #[test]
    fn an_instance_must_be_named_as_aws_names_one() {
        let named = |id: &str, region: &str, account: &str| {
            let json = format!(
                r#"{{"answer":"instance","id":"{id}","region":"{region}","account":"{account}"}}"#
            );
            let message: Result<Answer, _> = serde_json::from_str(&json);
            message
                .ok()
                .and_then(|message| instance(frame(message, &[])).ok())
        };
        assert!(named("i-0123456789abcdef0", "eu-west-1", "123456789012").is_some());
        for (id, region, account) in [
            ("i-../x", "eu-west-1", "123456789012"),
            ("i-1", "eu-west-1/", "123456789012"),
            ("i-1", "eu-west-1", "12"),
            ("", "", ""),
        ] {
            assert_eq!(named(id, region, account), None, "{id} {region} {account}");
        }
    }
}
