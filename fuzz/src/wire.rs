//! The wire between authkeysd and authkeysd-fetch, both ways. The first byte says how many bytes
//! arrive at a time.

use authkeys_core::nudge::Sight;
use authkeys_core::origin::{Fetched, MAX_DOCUMENT, SourceUrl};
use authkeys_core::wire::{Answer, Assembler, Frame, MAX_REPORT, Request, answer, head};
use authkeys_core::words::is_deceptive;

/// Whatever arrives is a frame within its bounds or an error, and what is made of an answer has no
/// text that deceives. Whether there was a valid answer.
pub fn check(input: &[u8]) -> bool {
    let (step, bytes) = input
        .split_first()
        .map_or((1, input), |(step, rest)| (usize::from(*step).max(1), rest));
    for frame in frames::<Request>(bytes, step, MAX_REPORT) {
        let parts: Vec<&[u8]> = frame.parts.iter().map(|part| part.as_slice()).collect();
        let mut again =
            head(frame.id, &frame.message, &parts).expect("what was read can be written");
        parts.iter().for_each(|part| again.extend_from_slice(part));
        let read = frames::<Request>(&again, step, MAX_REPORT);
        assert!(
            read.len() == 1 && read[0] == frame,
            "it is read as it was written"
        );
    }
    let answers = frames::<Answer>(bytes, step, MAX_DOCUMENT);
    let good = !answers.is_empty();
    for url in [
        "s3://bucket/key",
        "secretsmanager:keys?stages=AWSCURRENT,AWSPENDING",
    ] {
        let url = SourceUrl::parse(url).expect("it is one");
        for frame in frames::<Answer>(bytes, step, MAX_DOCUMENT) {
            match answer::fetched(frame, &url) {
                Ok(Fetched::Unchanged) => {}
                Ok(Fetched::Documents { current, further }) => {
                    assert!(
                        further.keys().all(|stage| url.stages().contains(stage)),
                        "only what was asked for"
                    );
                    assert!(
                        !current.version.label.contains(is_deceptive)
                            && current.bytes.len() <= MAX_DOCUMENT
                    );
                }
                Err(failure) => {
                    let text = failure.to_string();
                    assert!(
                        !text.contains(is_deceptive) && text.len() < 1 << 16,
                        "{text:?}"
                    );
                }
            }
        }
    }
    for frame in frames::<Answer>(bytes, step, MAX_DOCUMENT) {
        let text = match answer::sight(frame) {
            Ok(Sight::Absent) => String::new(),
            Ok(Sight::Present { mark }) => mark.into(),
            Ok(Sight::Unreadable { why }) => why,
            Err(failure) => failure.to_string(),
        };
        assert!(!text.contains(is_deceptive), "{text:?}");
    }
    for frame in answers {
        let text = match answer::may_tag(frame) {
            Ok(answer) => answer.instance + &answer.arn,
            Err(failure) => failure.to_string(),
        };
        assert!(!text.contains(is_deceptive), "{text:?}");
    }
    good
}

/// The frames at the start of the input, until one is incomplete or wrong.
fn frames<M: serde::de::DeserializeOwned>(
    mut bytes: &[u8],
    step: usize,
    max_part: usize,
) -> Vec<Frame<M>> {
    let mut frames = Vec::new();
    let mut assembler = Assembler::new(max_part);
    while !bytes.is_empty() {
        let space = assembler.space();
        let count = space.len().min(step).min(bytes.len());
        space[..count].copy_from_slice(&bytes[..count]);
        bytes = &bytes[count..];
        match assembler.filled(count) {
            Ok(None) => {}
            Ok(Some(frame)) => {
                frames.push(frame);
                assembler = Assembler::new(max_part);
            }
            Err(_) => break,
        }
    }
    frames
}
