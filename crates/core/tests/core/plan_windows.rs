//! Which lines an account gets at which time, of several documents and for several lines of one key.

use std::collections::BTreeSet;

use authkeys_core::document::Document;
use authkeys_core::guard::Guard;
use authkeys_core::plan::{
    ExpiryForm, Layer, Mode, Moment, PresentLines, add_pinned, desired, plan,
};
use authkeys_core::user::UserName;
use authkeys_testing::numbered::{ed, line};
use jiff::Timestamp;

use super::plans::{after, at, block, document, managed, wanted};

#[test]
fn windows_open_and_close_at_their_instants_and_keys_end_by_themselves() {
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_before":"2026-11-22T10:00:00Z"}},
            {{"public_key":"{}","not_after":"2026-11-22T10:00:00Z","options":["restrict"]}},
            {{"public_key":"{}","options":["expiry-time=\"20261122110000Z\""]}},
            {{"public_key":"{}","accounts":["other"]}}]}}"#,
        ed(1),
        ed(2),
        ed(3),
        ed(4)
    );
    let user = UserName::parse("ubuntu").unwrap();
    let lines = |now: &str| -> (Vec<String>, Option<Timestamp>) {
        let desired = desired(
            &[(&document(&json)).into()],
            &[],
            &[&user],
            &at(now),
            ExpiryForm::Utc,
        );
        (
            desired
                .entries
                .iter()
                .map(|entry| entry.line.clone())
                .collect(),
            desired.next_change,
        )
    };
    let (two, three) = (
        format!("restrict,expiry-time=\"20261122100000Z\" {}", ed(2)),
        format!("expiry-time=\"20261122110000Z\" {}", ed(3)),
    );
    let change = |text: &str| Some(text.parse::<Timestamp>().unwrap());
    assert_eq!(
        lines("2026-11-22T09:59:59.999Z"),
        (vec![two, three.clone()], change("2026-11-22T10:00:00Z"))
    );
    assert_eq!(
        lines("2026-11-22T10:00:00Z"),
        (vec![ed(1), three], change("2026-11-22T11:00:00Z"))
    );
    assert_eq!(lines("2026-11-22T11:00:00Z"), (vec![ed(1)], None));
}

#[test]
fn a_copy_of_a_key_that_is_not_in_force_goes_too() {
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{}","not_before":"2027-01-01T00:00:00Z"}},{{"public_key":"{}"}}]}}"#,
        ed(1),
        ed(2)
    );
    let text = block(
        &wanted(&json, &[]),
        &format!("{} early\n", ed(1)),
        &BTreeSet::new(),
    );
    assert_eq!(text, managed(&[&ed(2)]));
}

/// What two documents, the more important first, and pinned lines make of the account.
fn lines_of(documents: &[&str], pinned: &[&str], moment: &Moment) -> Vec<String> {
    let documents: Vec<Document> = documents.iter().map(|text| document(text)).collect();
    let pinned: Vec<_> = pinned.iter().map(|text| line(text)).collect();
    let user = UserName::parse("ubuntu").unwrap();
    // The first is the current one of a source, the others those of further stages.
    let layers: Vec<Layer<'_>> = documents
        .iter()
        .enumerate()
        .map(|(at, document)| Layer {
            is_current: at == 0,
            ..document.into()
        })
        .collect();
    let desired = desired(&layers, &pinned, &[&user], moment, ExpiryForm::Utc);
    desired
        .entries
        .into_iter()
        .map(|entry| entry.line)
        .collect()
}

#[test]
fn f46_all_lines_of_one_key_are_installed_and_the_same_one_once() {
    let key = ed(1);
    let (office, local) = (
        format!("from=\"10.0.0.0/8\" {key}"),
        format!("from=\"127.0.0.0/8\" {key}"),
    );
    let text = format!("{office}\n{}\n{local}\n{office}\n{local}\n", ed(2));
    let now = at("2026-11-22T00:00:00Z");
    let lines = [office.clone(), ed(2), local.clone()];
    assert_eq!(lines_of(&[&text], &[], &now), lines);
    let desired = wanted(&text, &[]);
    let first = plan(&desired, Mode::Block, Some(b""), &BTreeSet::new());
    // A key is one key, however many lines it has.
    assert_eq!(
        (first.in_force.len(), first.added.len(), desired.published()),
        (2, 2, 2)
    );
    let file = after(first, "");
    assert_eq!(file, managed(&[&office, &ed(2), &local]));
    let again = plan(
        &desired,
        Mode::Block,
        Some(file.as_bytes()),
        &BTreeSet::new(),
    );
    assert!(
        again.content.is_none() && again.updated.is_empty(),
        "{again:?}"
    );
    // What it replaces need not be the same number of lines.
    let fewer = plan(
        &wanted(&format!("{office}\n{}\n", ed(2)), &[]),
        Mode::Block,
        Some(file.as_bytes()),
        &BTreeSet::new(),
    );
    assert_eq!(
        (fewer.updated.len(), fewer.removed.len(), fewer.taken_away),
        (1, 0, 0)
    );
    let gone = plan(
        &wanted(&format!("{}\n", ed(2)), &[]),
        Mode::Block,
        Some(file.as_bytes()),
        &BTreeSet::new(),
    );
    assert_eq!(
        (gone.updated.len(), gone.removed.len(), gone.taken_away),
        (0, 1, 1)
    );
    assert!(
        Guard {
            min_keys: 2,
            max_removals: None
        }
        .judge(&wanted(&format!("{office}\n{local}\n"), &[]), &gone)
        .is_err()
    );
}

#[test]
fn f46_the_first_document_that_has_a_key_in_force_decides_about_all_of_its_lines() {
    let key = ed(1);
    let (one, two) = (
        format!("from=\"10.0.0.0/8\" {key}"),
        format!("from=\"127.0.0.0/8\" {key}"),
    );
    let (three, four) = (format!("restrict {key}"), format!("{key} wide"));
    let now = at("2026-11-22T00:00:00Z");
    let (current, pending) = (
        format!("{one}\n{two}\n"),
        format!("{three}\n{four}\n{}\n", ed(2)),
    );
    assert_eq!(
        lines_of(&[&current, &pending], &[], &now),
        [one.clone(), two.clone(), ed(2)]
    );
    assert_eq!(
        lines_of(&[&current, &pending], &[&three, &four], &now),
        [three.clone(), four.clone(), ed(2)]
    );
    // A document in which none of the key's lines is for the account, or in force, decides nothing.
    let elsewhere = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{key}","accounts":["other"]}},{{"public_key":"{key}","not_before":"2027-01-01T00:00:00Z"}},{{"public_key":"{}"}}]}}"#,
        ed(3)
    );
    assert_eq!(
        lines_of(&[&elsewhere, &pending], &[], &now),
        [ed(3), three, four, ed(2)]
    );
}

#[test]
fn f46_each_line_of_a_key_has_its_own_window() {
    let key = ed(1);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{key} past","not_after":"2026-11-22T10:00:00Z","options":["restrict"]}},
            {{"public_key":"{key} always","options":["from=\"127.0.0.1\""]}},
            {{"public_key":"{key} later","not_before":"2026-11-22T11:00:00Z"}}]}}"#
    );
    let lines = |now: &str| lines_of(&[&json], &[], &at(now));
    let past = format!("restrict,expiry-time=\"20261122100000Z\" {key} past");
    let (always, later) = (
        format!("from=\"127.0.0.1\" {key} always"),
        format!("{key} later"),
    );
    assert_eq!(lines("2026-11-22T09:00:00Z"), [past, always.clone()]);
    assert_eq!(lines("2026-11-22T10:00:00Z"), std::slice::from_ref(&always));
    assert_eq!(lines("2026-11-22T11:00:00Z"), [always, later]);
}

#[test]
fn f46_a_clock_that_is_wrong_opens_and_closes_no_line_of_a_key_that_has_several() {
    let key = ed(1);
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{key}","options":["restrict"],"not_after":"2026-11-22T10:00:00Z"}},
            {{"public_key":"{key}","options":["from=\"127.0.0.1\""]}},
            {{"public_key":"{key}","not_before":"2026-11-22T11:00:00Z"}}]}}"#
    );
    for right in [
        "2026-11-22T09:00:00Z",
        "2026-11-22T10:30:00Z",
        "2026-11-22T11:30:00Z",
    ] {
        let file = lines_of(&[&json], &[], &at(right));
        for wrong in [
            "1970-01-01T00:00:00Z",
            "2026-11-22T10:30:00Z",
            "2100-01-01T00:00:00Z",
        ] {
            let standing = Some(PresentLines::of(file.iter().map(String::as_bytes)));
            let moment = Moment {
                standing,
                ..at(wrong)
            };
            assert_eq!(lines_of(&[&json], &[], &moment), file, "{right} {wrong}");
        }
    }
    // Other terms than those that are in the file: the key stays, by its first line.
    let standing = Some(PresentLines::of(
        [format!("no-pty {key}").as_bytes()].into_iter(),
    ));
    let two = json.replace(
        "[\"from=\\\"127.0.0.1\\\"\"]",
        "[\"no-pty\"], \"not_before\": \"2027-01-01T00:00:00Z\"",
    );
    let moment = Moment {
        standing,
        ..at("1970-01-01T00:00:00Z")
    };
    assert_eq!(lines_of(&[&two], &[], &moment), [format!("no-pty {key}")]);
    let standing = Some(PresentLines::of(
        [format!("no-user-rc {key}").as_bytes()].into_iter(),
    ));
    let moment = Moment {
        standing,
        ..at("1970-01-01T00:00:00Z")
    };
    assert_eq!(lines_of(&[&two], &[], &moment).len(), 1);
}

#[test]
fn f46_of_a_pinned_key_every_line_is_installed_also_where_no_key_set_is_known() {
    let (office, local) = (
        format!("from=\"10.0.0.0/8\" {}", ed(1)),
        format!("from=\"127.0.0.0/8\" {}", ed(1)),
    );
    let pinned = [line(&office), line(&local), line(&office)];
    let user = UserName::parse("ubuntu").unwrap();
    let desired = desired(
        &[],
        &pinned,
        &[&user],
        &at("2026-11-22T00:00:00Z"),
        ExpiryForm::Utc,
    );
    for (present, added, updated) in [("", 1, 0), (office.as_str(), 0, 1), (ed(1).as_str(), 0, 1)] {
        let plan = add_pinned(&desired, Mode::Block, Some(present.as_bytes()));
        assert_eq!(
            (plan.in_force.len(), plan.added.len(), plan.updated.len()),
            (1, added, updated),
            "{present}"
        );
        let text = after(plan, present);
        assert!(
            text.contains(&office) && text.contains(&local) && text.starts_with(present),
            "{text}"
        );
        let again = add_pinned(&desired, Mode::Block, Some(text.as_bytes()));
        assert_eq!(again.content, None, "{text}");
    }
}

#[test]
fn f47_an_account_is_meant_by_either_of_its_names_and_by_no_other() {
    let name = |text: &str| UserName::parse(text).unwrap();
    let json = |account: &str| {
        format!(
            r#"{{"version":1,"keys":[{{"public_key":"{}","accounts":["{account}"]}}]}}"#,
            ed(1)
        )
    };
    let keys = |entry: &str, names: &[&UserName]| {
        let moment = at("2026-11-22T00:00:00Z");
        desired(
            &[(&document(&json(entry))).into()],
            &[],
            names,
            &moment,
            ExpiryForm::Utc,
        )
        .entries
        .len()
    };
    let (short, long) = (name("jo"), name("jo@example.org"));
    for names in [[&short, &long], [&long, &short]] {
        assert_eq!((keys("jo", &names), keys("jo@example.org", &names)), (1, 1));
        assert_eq!(
            (
                keys("jo@example.com", &names),
                keys("Jo", &names),
                keys("j", &names)
            ),
            (0, 0, 0)
        );
    }
    assert_eq!(
        (keys("jo", &[&short]), keys("jo@example.org", &[&short])),
        (1, 0)
    );
}
