//! What holds for every plan: done once, nothing is left to do; keys of the set stand where they
//! must and nowhere else; nobody else's line is lost.

use std::collections::BTreeSet;

use authkeys_core::document::{self, Document};
use authkeys_core::key::{Fingerprint, KeyLine, identify};
use authkeys_core::plan::{
    Desired, DesiredEntry, ExpiryForm, Layer, Mode, Moment, Plan, add_pinned, desired, plan,
};
use authkeys_core::user::UserName;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};

use super::rules::{assert_clean, generous, strict};

const FORMS: [ExpiryForm; 3] = [ExpiryForm::Utc, ExpiryForm::LocalStandard, ExpiryForm::Omit];

/// Plans the file `present` by the document, for an account, at times around its windows and in
/// each form.
pub(crate) fn check(document: &Document, present: &[u8]) {
    let user = UserName::parse("ubuntu").expect("a good name");
    let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").expect("a good zone");
    let usual = "2026-11-22T00:00:00Z".parse().expect("a good time");
    let windows = document
        .keys
        .first()
        .into_iter()
        .flat_map(|key| [key.not_before, key.not_after])
        .flatten();
    for now in windows.chain([usual]) {
        let at = Moment {
            now,
            zone: zone.clone(),
            standing: None,
        };
        for (turn, form) in FORMS.into_iter().enumerate() {
            let wanted = desired(&[document.into()], &[], &[&user], &at, form);
            check_desired(document, &wanted, &user, now, form);
            // The form makes no difference to the file; one of them will do.
            if turn == present.len() % FORMS.len() {
                check_file(&wanted, present);
            }
        }
    }
    // A secret's pending document beside the current one: what either revokes is revoked, the first
    // decides about a key.
    if let Ok(pending) = document::parse(present, &strict(generous())) {
        let at = Moment {
            now: usual,
            zone: zone.clone(),
            standing: None,
        };
        let beside = Layer {
            is_current: false,
            ..(&pending).into()
        };
        let wanted = desired(
            &[document.into(), beside],
            &[],
            &[&user],
            &at,
            ExpiryForm::Utc,
        );
        let alone = desired(&[document.into()], &[], &[&user], &at, ExpiryForm::Utc);
        let revoked = |entry: &&DesiredEntry| pending.revoked.contains(&entry.key.fingerprint());
        let kept: Vec<&DesiredEntry> = alone
            .entries
            .iter()
            .filter(|entry| !revoked(entry))
            .collect();
        assert!(
            wanted.entries.iter().take(kept.len()).eq(kept),
            "the more important document comes first, as it is"
        );
        check_file(&wanted, present);
    }
    let pinned: Vec<KeyLine> = document
        .keys
        .iter()
        .rev()
        .take(2)
        .map(|key| key.line.clone())
        .collect();
    let at = Moment {
        now: usual,
        zone,
        standing: None,
    };
    let wanted = desired(&[document.into()], &pinned, &[&user], &at, ExpiryForm::Utc);
    check_file(&wanted, present);
}

/// The entries are exactly the lines of the keys in force, once each, in lines that are good and
/// carry their end.
fn check_desired(
    document: &Document,
    wanted: &Desired,
    user: &UserName,
    now: Timestamp,
    form: ExpiryForm,
) {
    let (mut seen, mut lines) = (BTreeSet::new(), BTreeSet::new());
    for entry in &wanted.entries {
        let print = entry.key.fingerprint();
        seen.insert(print);
        assert!(lines.insert(&entry.line), "each line once");
        assert!(!document.revoked.contains(&print), "a revoked key");
        assert_clean(&entry.line);
        assert_eq!(
            identify(entry.line.as_bytes()).map(|found| found.key),
            Some(entry.key.clone())
        );
        // An end that is written may make a line longer than what may be published.
        if entry.line.len() <= 8_192 {
            check_line(document, &entry.line, user, now, form);
        }
    }
    for key in &document.keys {
        let mine = key
            .accounts
            .as_ref()
            .is_none_or(|accounts| accounts.contains(user));
        let open = key.not_before.is_none_or(|from| from <= now)
            && key.not_after.is_none_or(|until| now < until);
        let print = key.line.key.fingerprint();
        if mine
            && open
            && !document.revoked.contains(&print)
            && !key.line.options.has("expiry-time")
        {
            assert!(seen.contains(&print), "a key in force is missing");
        }
    }
    assert!(
        wanted.next_change.is_none_or(|change| change > now),
        "the next change is to come"
    );
}

/// Our own line is good, and stems from a key of the document that is in force.
fn check_line(document: &Document, line: &str, user: &UserName, now: Timestamp, form: ExpiryForm) {
    let mut parsed = KeyLine::parse(line.as_bytes(), &generous()).expect("our own line is good");
    assert_eq!(parsed.to_string(), line, "our own line is canonical");
    let ends = parsed.options.take_expiries();
    let from = document.keys.iter().find(|key| {
        let mut options = key.line.options.clone();
        options.take_expiries();
        (&key.line.key, &key.line.comment, options)
            == (&parsed.key, &parsed.comment, parsed.options.clone())
            && key
                .accounts
                .as_ref()
                .is_none_or(|accounts| accounts.contains(user))
            && key.not_before.is_none_or(|from| from <= now)
            && key.not_after.is_none_or(|until| now < until)
    });
    let key = from.expect("a line of a key that is in force, with its options and comment");
    if form == ExpiryForm::Omit {
        assert!(ends.is_empty(), "an old sshd would ignore the line");
    } else if let (Some(until), false) = (key.not_after, key.line.options.has("expiry-time")) {
        assert_eq!(ends.len(), 1);
        assert_eq!(ends[0].utc, form == ExpiryForm::Utc);
        if form == ExpiryForm::Utc {
            let written = Offset::UTC.to_timestamp(ends[0].time).expect("a time");
            assert_eq!(
                written.as_second(),
                until.as_second() - i64::from(until.subsec_nanosecond() < 0)
            );
        }
    }
}

fn check_file(wanted: &Desired, present: &[u8]) {
    let none = BTreeSet::new();
    let all: BTreeSet<Fingerprint> = wanted
        .entries
        .iter()
        .map(|entry| entry.key.fingerprint())
        .collect();
    for mode in [Mode::Block, Mode::Exclusive] {
        for before in [Some(present)]
            .into_iter()
            .chain(present.is_empty().then_some(None))
        {
            for installed in [&none, &all] {
                let after = apply(plan(wanted, mode, before, installed), before);
                check_after(wanted, &after);
                assert_settled(plan(wanted, mode, Some(&after), &all), &after);
            }
            let after = apply(add_pinned(wanted, mode, before), before);
            assert_settled(add_pinned(wanted, mode, Some(&after)), &after);
            let there = |line: &[u8]| after.split(|b| *b == b'\n').any(|found| found == line);
            for line in before.unwrap_or_default().split(|b| *b == b'\n') {
                assert!(
                    line.is_empty() || there(line),
                    "a line is lost where nothing is taken away"
                );
            }
        }
    }
    if !present.windows(9).any(|window| window == b"authkeysd") {
        let after = apply(
            plan(wanted, Mode::Block, Some(present), &none),
            Some(present),
        );
        let ours = |line: &&[u8]| {
            let found = identify(line).map(|found| found.key.fingerprint());
            found.is_none_or(|print| {
                wanted.pinned.contains(&print)
                    || !wanted.addressed.contains(&print) && !wanted.revoked.contains(&print)
            })
        };
        let kept: Vec<u8> = lines(present)
            .filter(ours)
            .flat_map(|line| [line, b"\n"].concat())
            .collect();
        assert!(
            after.starts_with(&kept),
            "a stranger's line is kept byte for byte"
        );
    }
}

/// The lines without their LF; none after the last LF.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split_inclusive(|b| *b == b'\n')
        .map(|line| line.strip_suffix(b"\n").unwrap_or(line))
}

fn apply(plan: Plan, before: Option<&[u8]>) -> Vec<u8> {
    plan.content
        .unwrap_or_else(|| before.unwrap_or_default().to_vec())
}

fn assert_settled(again: Plan, after: &[u8]) {
    let shown = || String::from_utf8_lossy(after);
    assert_eq!(
        again.content,
        None,
        "planning after applying gives an empty plan: {}",
        shown()
    );
    assert!(
        again.added.is_empty() && again.removed.is_empty() && again.updated.is_empty(),
        "{}",
        shown()
    );
}

/// Keys in force stand there; those that must not be let in stand nowhere.
fn check_after(wanted: &Desired, after: &[u8]) {
    assert!(
        after.last().is_none_or(|last| *last == b'\n'),
        "the last line ends"
    );
    let found: Vec<Fingerprint> = lines(after)
        .filter_map(identify)
        .map(|found| found.key.fingerprint())
        .collect();
    let text = String::from_utf8_lossy(after);
    for entry in &wanted.entries {
        let print = entry.key.fingerprint();
        let copies = found.iter().filter(|found| **found == print).count();
        let own = wanted
            .entries
            .iter()
            .filter(|entry| entry.key.fingerprint() == print)
            .count();
        assert!(
            copies == own || copies > own && wanted.pinned.contains(&print),
            "{copies} of {print} in {text}"
        );
        assert!(
            lines(after).any(|line| line == entry.line.as_bytes()),
            "our line is not in {text}"
        );
    }
    for print in found.iter().filter(|print| !wanted.pinned.contains(print)) {
        assert!(!wanted.revoked.contains(print), "a revoked key in {text}");
        let ours = wanted
            .entries
            .iter()
            .any(|entry| entry.key.fingerprint() == *print);
        assert!(
            ours || !wanted.addressed.contains(print),
            "a key that is not in force in {text}"
        );
    }
}
