//! Plans and the guard: what a file becomes, and what is held back.

use std::collections::BTreeSet;

use authkeys_core::document::{self, Document, Rules};
use authkeys_core::guard::{Guard, Held, MaxRemovals};
use authkeys_core::key::{Fingerprint, identify};
use authkeys_core::plan::{
    Desired, ExpiryForm, Layer, Mode, Moment, Plan, PresentLines, add_pinned, desired, managed_by,
    plan,
};
use authkeys_core::user::UserName;
use authkeys_testing::numbered::{ed, line, print, rsa, rules, wire};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use proptest::prelude::*;

fn document(text: &str) -> Document {
    document::parse(
        text.as_bytes(),
        &Rules {
            line: rules(),
            allow_private_key: false,
        },
    )
    .unwrap()
}

fn at(now: &str) -> Moment {
    Moment {
        now: now.parse().unwrap(),
        zone: TimeZone::UTC,
        standing: None,
    }
}

fn wanted(text: &str, pinned: &[String]) -> Desired {
    let pinned: Vec<_> = pinned.iter().map(|text| line(text)).collect();
    let user = UserName::parse("ubuntu").unwrap();
    desired(
        &[(&document(text)).into()],
        &pinned,
        &[&user],
        &at("2026-11-22T00:00:00Z"),
        ExpiryForm::Utc,
    )
}

fn prints(texts: &[&str]) -> BTreeSet<Fingerprint> {
    texts
        .iter()
        .map(|text| Fingerprint::parse(&print(text)).unwrap())
        .collect()
}

/// The file after a plan in block mode.
fn block(desired: &Desired, present: &str, installed: &BTreeSet<Fingerprint>) -> String {
    after(
        plan(desired, Mode::Block, Some(present.as_bytes()), installed),
        present,
    )
}

fn after(plan: Plan, present: &str) -> String {
    plan.content.map_or_else(
        || present.to_owned(),
        |content| String::from_utf8(content).unwrap(),
    )
}

fn managed(keys: &[&str]) -> String {
    format!(
        "# BEGIN authkeysd\n{}# END authkeysd\n",
        keys.iter().map(|k| format!("{k}\n")).collect::<String>()
    )
}

#[test]
fn f03_a_foreign_last_line_without_a_line_feed_gets_one() {
    let present = format!("{} theirs", ed(9));
    let text = block(
        &wanted(&format!("{}\n", ed(1)), &[]),
        &present,
        &BTreeSet::new(),
    );
    assert_eq!(text, format!("{present}\n{}", managed(&[&ed(1)])));
}

#[test]
fn f05_foreign_lines_are_kept_byte_for_byte() {
    let present = format!(
        "# my keys\r\n\n  from=\"10.0.0.1\" {} spaced  out\t\r\nssh-future@x AAAA\n\u{fe}bytes\n{}",
        ed(9),
        managed(&[&ed(2)])
    );
    let text = block(
        &wanted(&format!("{}\n", ed(1)), &[]),
        &present,
        &BTreeSet::new(),
    );
    let (theirs, ours) = present.split_at(present.find("# BEGIN").unwrap());
    assert_eq!(text, format!("{theirs}{}", ours.replace(&ed(2), &ed(1))));
}

#[test]
fn f09_every_other_copy_of_a_published_key_goes_and_strangers_stay() {
    let plain = ed(1);
    let copies = format!("{plain} copy\nexpiry-time=\"20200101\" {plain}\n{plain}\n").repeat(100);
    let present = format!("{copies}{} theirs\n", ed(9));
    let desired = wanted(&format!("from=\"10.0.0.0/8\" {plain} published\n"), &[]);
    let text = block(&desired, &present, &BTreeSet::new());
    assert_eq!(
        text,
        format!(
            "{} theirs\n{}",
            ed(9),
            managed(&[&format!("from=\"10.0.0.0/8\" {plain} published")])
        )
    );
}

#[test]
fn f09_a_key_that_was_installed_once_and_left_the_set_leaves_every_line() {
    let present = format!(
        "{} put back by cron\n{} theirs\n{}",
        ed(1),
        ed(9),
        managed(&[&ed(1), &ed(2)])
    );
    let desired = wanted(&format!("{}\n", ed(2)), &[]);
    let text = block(&desired, &present, &prints(&[&ed(1), &ed(2)]));
    assert_eq!(text, format!("{} theirs\n{}", ed(9), managed(&[&ed(2)])));
    let plan = plan(
        &desired,
        Mode::Block,
        Some(present.as_bytes()),
        &prints(&[&ed(1)]),
    );
    assert_eq!(
        plan.removed
            .iter()
            .map(|key| key.fingerprint.to_string())
            .collect::<Vec<_>>(),
        [print(&ed(1))]
    );
}

#[test]
fn f09_a_revoked_key_goes_although_it_was_never_ours_and_in_whatever_coat() {
    let plain = rsa(2_048, 3);
    let (_, blob) = plain.split_once(' ').unwrap();
    let spelled = wire(&[
        b"RSA",
        &[0, 1, 0, 1],
        &[vec![0, 0], authkeys_testing::numbered::modulus(2_048, 3)].concat(),
    ]);
    let present = format!(
        "rsa-sha2-256 {blob}\nbogus=\"x y\" ssh-rsa {spelled} hidden\n{plain}\r\n{} theirs\n# {plain}\n",
        ed(9)
    );
    let json = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{}\"}}],\"revoked\":[\"{}\"]}}",
        ed(1),
        print(&plain)
    );
    let text = block(&wanted(&json, &[]), &present, &BTreeSet::new());
    assert_eq!(
        text,
        format!("{} theirs\n# {plain}\n{}", ed(9), managed(&[&ed(1)]))
    );
}

#[test]
fn f11_identity_is_the_blob_not_the_comment() {
    let present = format!("{} rotation-17\n{} rotation-1\n", ed(8), ed(9));
    let desired = wanted(&format!("{} rotation-1\n", ed(1)), &[]);
    assert_eq!(
        block(&desired, &present, &prints(&[&ed(2)])),
        format!("{present}{}", managed(&[&format!("{} rotation-1", ed(1))]))
    );
}

#[test]
fn pinned_keys_come_first_win_and_are_never_revoked() {
    let json = format!(
        "{{\"version\":1,\"keys\":[{{\"public_key\":\"{0}\",\"options\":[\"restrict\"]}},{{\"public_key\":\"{1}\"}}],\"revoked\":[\"{2}\"]}}",
        ed(1),
        ed(2),
        print(&ed(1))
    );
    let desired = wanted(&json, &[format!("{} break glass", ed(1))]);
    let text = block(
        &desired,
        &format!("{} by hand\n", ed(1)),
        &prints(&[&ed(1)]),
    );
    assert_eq!(
        text,
        format!(
            "{} by hand\n{}",
            ed(1),
            managed(&[&format!("{} break glass", ed(1)), &ed(2)])
        )
    );
    assert_eq!(desired.published(), 1);
}

#[test]
fn damaged_markers_are_repaired_and_lose_no_line() {
    let desired = wanted(&format!("{}\n", ed(1)), &[]);
    let installed = prints(&[&ed(1), &ed(2)]);
    let (ours, old, theirs) = (ed(1), ed(2), format!("{} theirs", ed(9)));
    let good = managed(&[&ours]);
    for (present, expected) in [
        (
            format!("# BEGIN authkeysd\n{ours}\n{old}\n{theirs}\n"),
            format!("{good}{theirs}\n"),
        ),
        (
            format!("{ours}\n{old}\n# END authkeysd\n{theirs}\n"),
            format!("{good}{theirs}\n"),
        ),
        (
            format!("# BEGIN authkeysd\n{theirs}\n# BEGIN authkeysd\n{old}\n# END authkeysd\n"),
            format!("{theirs}\n{good}"),
        ),
        (
            format!("{good}{theirs}\n{good}"),
            format!("{good}{theirs}\n"),
        ),
        (
            format!("# END authkeysd\n{theirs}\n# BEGIN authkeysd\n"),
            format!("{good}{theirs}\n"),
        ),
        (
            format!("  # BEGIN authkeysd \r\n{old}\r\n# END authkeysd\t"),
            good.clone(),
        ),
    ] {
        let text = block(&desired, &present, &installed);
        assert_eq!(text, expected, "{present}");
        assert_eq!(block(&desired, &text, &installed), text, "stable");
    }
}

#[test]
fn exclusive_owns_every_line() {
    let desired = wanted(&format!("{}\n", ed(1)), &[]);
    let present = format!("# mine\n{} theirs\n", ed(9));
    let plan = plan(
        &desired,
        Mode::Exclusive,
        Some(present.as_bytes()),
        &BTreeSet::new(),
    );
    assert_eq!(plan.removed.len(), 1);
    assert_eq!(after(plan, &present), format!("{}\n", ed(1)));
}

#[test]
fn an_empty_set_makes_no_file_and_empties_the_block() {
    let desired = wanted("{\"version\":1,\"keys\":[]}", &[]);
    assert_eq!(
        plan(&desired, Mode::Block, None, &BTreeSet::new()).content,
        None
    );
    assert_eq!(
        plan(&desired, Mode::Exclusive, None, &BTreeSet::new()).content,
        None
    );
    assert_eq!(
        block(&desired, &managed(&[&ed(1)]), &BTreeSet::new()),
        managed(&[])
    );
    assert_eq!(
        block(&desired, "# theirs\n", &BTreeSet::new()),
        "# theirs\n"
    );
}

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

#[test]
fn a_key_that_is_pinned_as_well_counts_as_the_documents_own() {
    let one = wanted(&format!("{}\n", ed(1)), &[ed(1)]);
    let plan = plan(&one, Mode::Block, Some(b""), &BTreeSet::new());
    assert_eq!(one.published(), 1);
    assert_eq!(
        Guard {
            min_keys: 1,
            max_removals: None
        }
        .judge(&one, &plan),
        Ok(())
    );
    // A pinned key that the document does not name, or revokes, is none of the document's.
    let json = format!(
        r#"{{"version":1,"keys":[{{"public_key":"{0}"}}],"revoked":["{1}"]}}"#,
        ed(1),
        print(&ed(1))
    );
    let revoked = wanted(&json, &[ed(1), ed(7)]);
    assert_eq!(revoked.published(), 0);
}

#[test]
fn the_guard_counts_published_keys_and_removals_without_pinned_ones() {
    let judge = |guard: Guard, desired: &Desired, present: &str| {
        guard.judge(
            desired,
            &plan(
                desired,
                Mode::Block,
                Some(present.as_bytes()),
                &BTreeSet::new(),
            ),
        )
    };
    let one = wanted(&format!("{}\n", ed(1)), &[ed(7)]);
    let least = |min_keys| Guard {
        min_keys,
        max_removals: None,
    };
    assert_eq!(judge(least(1), &one, ""), Ok(()));
    assert_eq!(
        judge(least(2), &one, ""),
        Err(Held::TooFew { found: 1, least: 2 })
    );
    for (held, words) in [
        (Held::TooFew { found: 1, least: 2 }, "has 1 key in force"),
        (Held::TooFew { found: 0, least: 1 }, "has 0 keys in force"),
        (
            Held::TooMany { removals: 1, of: 1 },
            "would take 1 of 1 key away",
        ),
        (
            Held::TooMany { removals: 3, of: 4 },
            "would take 3 of 4 keys away",
        ),
    ] {
        assert!(held.to_string().contains(words), "{held}");
    }
    assert_eq!(
        judge(least(0), &wanted("{\"version\":1,\"keys\":[]}", &[]), ""),
        Ok(())
    );
    let present = managed(&[&ed(1), &ed(2), &ed(3), &ed(4), &ed(7)]);
    let most = |max| Guard {
        min_keys: 1,
        max_removals: Some(max),
    };
    assert_eq!(judge(most(MaxRemovals::Keys(3)), &one, &present), Ok(()));
    assert_eq!(
        judge(most(MaxRemovals::Keys(2)), &one, &present),
        Err(Held::TooMany { removals: 3, of: 4 })
    );
    assert_eq!(
        judge(most(MaxRemovals::Percent(75)), &one, &present),
        Ok(())
    );
    assert!(judge(most(MaxRemovals::Percent(74)), &one, &present).is_err());
    let strangers: String = (20..60).map(|n| format!("{}\n", ed(n))).collect();
    assert!(
        judge(
            most(MaxRemovals::Percent(74)),
            &one,
            &(strangers + &present)
        )
        .is_err(),
        "strangers do not count"
    );
}

fn any_file() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        (0_u16..12).prop_map(|n| format!("{}\n", ed(n))),
        (0_u16..12).prop_map(|n| format!("restrict {} c\r\n", ed(n))),
        Just("# BEGIN authkeysd\n".to_owned()),
        Just("# END authkeysd\n".to_owned()),
        Just("# a comment\n".to_owned()),
        Just(format!("{}\n", managed_by(["file:/keys"]))),
        Just("\n".to_owned()),
        "[ -~]{0,12}\n",
    ];
    (proptest::collection::vec(piece, 0..14), any::<bool>()).prop_map(|(pieces, cut)| {
        let mut text = pieces.concat();
        if cut {
            text.pop();
        }
        text
    })
}

proptest! {
    #[test]
    fn planning_after_applying_is_empty_and_no_stranger_is_lost(
        present in any_file(),
        published in proptest::collection::btree_set(0_u16..8, 1..5),
        once in proptest::collection::btree_set(0_u16..8, 0..4),
        exclusive in any::<bool>(),
    ) {
        let text: String = published.iter().map(|n| format!("{}\n", ed(*n))).collect();
        let desired = headed(&text, "file:/keys");
        let once: Vec<String> = once.iter().map(|n| ed(*n)).collect();
        let mut installed = prints(&once.iter().map(String::as_str).collect::<Vec<_>>());
        let mode = if exclusive { Mode::Exclusive } else { Mode::Block };
        let first = after(plan(&desired, mode, Some(present.as_bytes()), &installed), &present);
        installed.extend(desired.entries.iter().map(|entry| entry.key.fingerprint()));
        let again = plan(&desired, mode, Some(first.as_bytes()), &installed);
        prop_assert_eq!(&again.content, &None, "{}", first);
        prop_assert!(again.added.is_empty() && again.removed.is_empty() && again.updated.is_empty());
        prop_assert!(first.ends_with('\n'));

        let count = |text: &str, n: u16| {
            let key = line(&ed(n)).key;
            text.lines().filter(|l| identify(l.as_bytes()).is_some_and(|found| found.key == key)).count()
        };
        for n in 0..12 {
            let expected = if published.contains(&n) { Some(1) } else if once.contains(&ed(n)) || exclusive { Some(0) } else { None };
            if let Some(expected) = expected {
                prop_assert_eq!(count(&first, n), expected, "key {} in {}", n, first);
            }
        }
        // What stands outside of intact blocks and is not a key of ours is kept, in its order.
        if !exclusive && !present.contains("authkeysd") {
            let foreign = |text: &str| -> Vec<String> {
                text.split_inclusive('\n').map(|l| l.strip_suffix('\n').unwrap_or(l)).filter(|l| !l.contains("authkeysd")).filter(|l| identify(l.as_bytes()).is_none_or(|found| {
                    !installed.contains(&found.key.fingerprint())
                })).map(str::to_owned).collect()
            };
            prop_assert_eq!(foreign(&present), foreign(&first));
        }
    }
}

#[test]
fn a_file_that_is_right_is_judged_alike_by_its_bytes_and_by_its_keys() {
    let pinned = [ed(1)];
    let desired = wanted(&format!("{}\nrestrict {}\n", ed(2), ed(3)), &pinned);
    let installed = prints(&[&ed(2), &ed(7)]);
    let ours = [ed(1), ed(2), format!("restrict {}", ed(3))];
    let ours = managed(&[&ours[0], &ours[1], &ours[2]]);
    let kept = format!("# note\n\n{} theirs\n{} pinned too\n", ed(8), ed(1));
    for (before, after) in [
        ("", ""),
        (kept.as_str(), ""),
        ("", kept.as_str()),
        (kept.as_str(), kept.as_str()),
    ] {
        let right = format!("{before}{ours}{after}");
        let by_bytes = plan(&desired, Mode::Block, Some(right.as_bytes()), &installed);
        // The blank behind the marker makes the bytes others, and only them.
        let other_bytes = right.replace("# END authkeysd\n", "# END authkeysd \n");
        let by_keys = plan(
            &desired,
            Mode::Block,
            Some(other_bytes.as_bytes()),
            &installed,
        );
        assert_eq!(by_keys.content.as_deref(), Some(right.as_bytes()));
        assert_eq!(
            by_bytes,
            Plan {
                content: None,
                ..by_keys
            }
        );
        assert_eq!((by_bytes.in_force.len(), by_bytes.at_stake), (3, 2));
    }
    // Whatever else is wrong in the file is still seen.
    let revoked = format!("{} second copy\n", ed(3));
    let left = format!("{} left the set\n", ed(7));
    for wrong in [
        revoked.as_str(),
        left.as_str(),
        "# BEGIN authkeysd\n",
        "# END authkeysd\n",
        "no line feed",
    ] {
        let present = format!("{ours}{wrong}");
        let plan = plan(&desired, Mode::Block, Some(present.as_bytes()), &installed);
        assert!(plan.content.is_some(), "{wrong}");
        if wrong.ends_with('\n') {
            let present = format!("{wrong}{ours}");
            assert_eq!(block(&desired, &present, &installed), ours, "{wrong}");
        }
    }
    let exclusive = ours
        .replace("# BEGIN authkeysd\n", "")
        .replace("# END authkeysd\n", "");
    let found = plan(
        &desired,
        Mode::Exclusive,
        Some(exclusive.as_bytes()),
        &installed,
    );
    assert_eq!(
        (found.content, found.in_force.len(), found.at_stake),
        (None, 3, 2)
    );
    let found = plan(
        &desired,
        Mode::Exclusive,
        Some(format!("{exclusive}\n").as_bytes()),
        &installed,
    );
    assert_eq!(found.content.as_deref(), Some(exclusive.as_bytes()));
}

/// With the line that names the source.
fn headed(text: &str, source: &str) -> Desired {
    let mut desired = wanted(text, &[]);
    desired.head = Some(managed_by([source]));
    desired
}

#[test]
fn the_line_that_names_the_source_is_written_with_a_change_and_alone_causes_none() {
    let nothing = BTreeSet::new();
    let head =
        "# managed by authkeysd from s3://b/k: changes between these lines are overwritten\n";
    let desired = headed(&format!("{}\n", ed(1)), "s3://b/k");
    let in_block = format!("# BEGIN authkeysd\n{head}{}\n# END authkeysd\n", ed(1));
    let theirs = format!("{}\n", ed(9));
    assert_eq!(
        block(&desired, &theirs, &nothing),
        format!("{theirs}{in_block}")
    );
    let alone = format!("{head}{}\n", ed(1));
    let exclusive = |present: &str| {
        after(
            plan(
                &desired,
                Mode::Exclusive,
                Some(present.as_bytes()),
                &nothing,
            ),
            present,
        )
    };
    assert_eq!(exclusive(&theirs), alone);
    // An earlier version wrote none, and the source may be called otherwise by now: both stay as
    // they are.
    for line in [
        "",
        "# managed by authkeysd from ssm:/old: changes between these lines are overwritten\n",
    ] {
        let present = format!("{theirs}{}", in_block.replace(head, line));
        assert_eq!(
            plan(&desired, Mode::Block, Some(present.as_bytes()), &nothing).content,
            None
        );
        let present = alone.replace(head, line);
        assert_eq!(
            plan(
                &desired,
                Mode::Exclusive,
                Some(present.as_bytes()),
                &nothing
            )
            .content,
            None
        );
        let second = headed(&format!("{}\n{}\n", ed(1), ed(2)), "s3://b/k");
        let with_change = block(
            &second,
            &format!("{theirs}{}", in_block.replace(head, line)),
            &nothing,
        );
        assert_eq!(
            with_change,
            format!(
                "{theirs}# BEGIN authkeysd\n{head}{}\n{}\n# END authkeysd\n",
                ed(1),
                ed(2)
            )
        );
    }
    // Anything else between the markers is undone.
    for line in [
        format!("{head}{head}"),
        format!("{head}# mine\n"),
        "# mine\n".to_owned(),
    ] {
        let present = format!("{theirs}{}", in_block.replace(head, &line));
        assert_eq!(
            block(&desired, &present, &nothing),
            format!("{theirs}{in_block}"),
            "{line}"
        );
        assert_eq!(exclusive(&alone.replace(head, &line)), alone, "{line}");
    }
    // An absent file is not made to say that there is no key.
    let none = headed("{\"version\":1,\"keys\":[]}", "s3://b/k");
    assert_eq!(plan(&none, Mode::Exclusive, None, &nothing).content, None);
    // Pinned keys go below it.
    let pinned = wanted(&format!("{}\n", ed(7)), &[]);
    let added = add_pinned(&pinned, Mode::Block, Some(in_block.as_bytes()))
        .content
        .unwrap();
    assert!(added.starts_with(format!("# BEGIN authkeysd\n{head}{}\n", ed(7)).as_bytes()));
    let many = ["a", "b", "c", "d", "e"].map(|name| format!("file:/{name}"));
    let text = managed_by(many.iter().map(String::as_str));
    assert!(
        text.contains("from file:/a and file:/b and file:/c and 2 more: changes"),
        "{text}"
    );
}
