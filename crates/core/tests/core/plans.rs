//! Plans and the guard: what a file becomes, and what is held back.

use std::collections::BTreeSet;

use authkeys_core::document::{self, Document, Rules};
use authkeys_core::guard::{Guard, Held, MaxRemovals};
use authkeys_core::key::Fingerprint;
use authkeys_core::plan::{
    Desired, ExpiryForm, Mode, Moment, Plan, add_pinned, desired, managed_by, plan,
};
use authkeys_core::user::UserName;
use authkeys_testing::numbered::{ed, line, print, rsa, rules, wire};
use jiff::tz::TimeZone;

pub(crate) fn document(text: &str) -> Document {
    document::parse(
        text.as_bytes(),
        &Rules {
            line: rules(),
            allow_private_key: false,
        },
    )
    .unwrap()
}

pub(crate) fn at(now: &str) -> Moment {
    Moment {
        now: now.parse().unwrap(),
        zone: TimeZone::UTC,
        standing: None,
    }
}

pub(crate) fn wanted(text: &str, pinned: &[String]) -> Desired {
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

pub(crate) fn prints(texts: &[&str]) -> BTreeSet<Fingerprint> {
    texts
        .iter()
        .map(|text| Fingerprint::parse(&print(text)).unwrap())
        .collect()
}

/// The file after a plan in block mode.
pub(crate) fn block(desired: &Desired, present: &str, installed: &BTreeSet<Fingerprint>) -> String {
    after(
        plan(desired, Mode::Block, Some(present.as_bytes()), installed),
        present,
    )
}

pub(crate) fn after(plan: Plan, present: &str) -> String {
    plan.content.map_or_else(
        || present.to_owned(),
        |content| String::from_utf8(content).unwrap(),
    )
}

pub(crate) fn managed(keys: &[&str]) -> String {
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

/// With the line that names the source.
pub(crate) fn headed(text: &str, source: &str) -> Desired {
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
