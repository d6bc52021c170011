//! What `authkeysctl lint` tells of a document: time is a value, so each warning has its day.

use authkeys_core::document::{self, Document, Form, Rules};
use authkeys_core::key::{LineRules, OptionPolicy};
use authkeys_core::publishing::diff::Diff;
use authkeys_core::publishing::findings::{KeyState, counted_keys, faults, judge, warnings};
use authkeys_core::report::text::Colour;
use authkeys_testing::numbered::{modulus, on_curve, wire};
use jiff::Timestamp;

const A: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgoh a";
const B: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIB8ezWk7rjXbeTGoJyq2RDGqBpgPYzRbLhBYKQnFlNNn b";
const SK: &str = "sk-ssh-ed25519@openssh.com \
                  AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29tAAAAIHOLP2JmNZ2MHpDJjQcs1fAfAEMaV6lWxS2Z/wVzOgohAAAABHNzaDo= \
                  sk";

fn parse(text: &str) -> Document {
    let line = LineRules {
        min_rsa_bits: 2_048,
        options: OptionPolicy::Restricting,
    };
    document::parse(
        text.as_bytes(),
        &Rules {
            line,
            allow_private_key: false,
        },
    )
    .unwrap()
}

fn json(keys: &str, more: &str) -> String {
    format!("{{\"version\": 1, \"serial\": 1, \"keys\": [{keys}]{more}}}")
}

fn at(day: &str) -> Timestamp {
    format!("{day}T00:00:00Z").parse().unwrap()
}

fn warned(text: &str, day: &str) -> String {
    let (document, now) = (parse(text), at(day));
    warnings(
        &document,
        document::form(text.as_bytes()),
        false,
        &judge(&document, now),
        1,
        now,
    )
    .join("\n")
}

fn held(text: &str, day: &str, min_keys: usize) -> String {
    let (document, now) = (parse(text), at(day));
    faults(&document, &judge(&document, now), min_keys, now).join("\n")
}

#[test]
fn a_plain_good_document_has_nothing_said_about_it() {
    let text = json(&format!("{{\"public_key\": \"{A}\"}}"), "");
    assert_eq!(
        (warned(&text, "2026-11-24"), held(&text, "2026-11-24", 1)),
        (String::new(), String::new())
    );
    assert_eq!(warned(&format!("{A}\n"), "2026-11-24"), "");
}

#[test]
fn a_key_stands_as_nodes_would_see_it_at_that_moment() {
    let window =
        "\"not_before\": \"2026-11-21T00:00:00Z\", \"not_after\": \"2026-12-21T00:00:00Z\"";
    let text = json(
        &format!("{{\"public_key\": \"{A}\", {window}}}, {{\"public_key\": \"{B}\"}}"),
        "",
    );
    let document = parse(&text);
    let state = |day| judge(&document, at(day))[0].state;
    assert_eq!(state("2026-11-20"), KeyState::NotYet);
    assert_eq!(state("2026-11-21"), KeyState::InForce);
    assert_eq!(state("2026-12-20"), KeyState::InForce);
    assert_eq!(state("2026-12-21"), KeyState::Over);
    let option = format!("expiry-time=\"20261221Z\" {A}\n");
    let document = parse(&option);
    assert_eq!(
        judge(&document, at("2026-12-20"))[0].state,
        KeyState::InForce
    );
    assert_eq!(judge(&document, at("2026-12-21"))[0].state, KeyState::Over);
}

#[test]
fn ends_that_are_near_are_told_before_they_come() {
    let text = json(
        &format!(
            "{{\"public_key\": \"{A}\", \"accounts\": [\"jo\"], \"not_after\": \"2026-12-21T00:00:00Z\"}}"
        ),
        ", \"expires\": \"2026-12-20T00:00:00Z\"",
    );
    assert_eq!(warned(&text, "2026-11-20"), "");
    let month = warned(&text, "2026-12-01");
    assert_eq!(
        month,
        "account jo: the last key ends at 2026-12-21T00:00:00Z (in 20 days), and none follows"
    );
    let week = warned(&text, "2026-12-15");
    for word in [
        "it expires at",
        "a: its window ends at",
        "account jo: the last key",
    ] {
        assert!(week.contains(word), "{word}: {week}");
    }
    assert!(
        held(&text, "2026-12-20", 1).contains("it expired at"),
        "nodes would be stale"
    );
    assert!(warned(&text, "2026-12-22").contains("a: its window ended at"));
}

#[test]
fn a_rotation_with_an_overlap_locks_nobody_out_and_one_with_a_gap_does() {
    let keys = |first: &str, second: &str| {
        json(
            &format!(
                "{{\"public_key\": \"{A}\", \"not_after\": \"2026-12-{first}T00:00:00Z\"}},
                 {{\"public_key\": \"{B}\", \"not_before\": \"2026-12-{second}T00:00:00Z\"}}"
            ),
            "",
        )
    };
    assert!(!warned(&keys("10", "10"), "2026-12-01").contains("none follows"));
    assert!(!warned(&keys("10", "09"), "2026-12-01").contains("none follows"));
    let gap = warned(&keys("10", "11"), "2026-12-01");
    assert!(
        gap.contains("accounts that no key names: the last key ends at 2026-12-10"),
        "{gap}"
    );
}

#[test]
fn too_few_keys_in_force_are_a_fault_and_for_one_account_a_warning() {
    let coming = json(
        &format!("{{\"public_key\": \"{A}\", \"not_before\": \"2027-01-01T00:00:00Z\"}}"),
        "",
    );
    assert!(held(&coming, "2026-11-24", 1).contains("it has 0 keys in force"));
    assert_eq!(held(&coming, "2027-01-01", 1), "");
    assert!(
        held(&coming, "2027-01-01", 2)
            .contains("it has 1 key in force, [policy] min_keys asks for 2")
    );
    assert!(held(&json("", ""), "2026-11-24", 1).contains("0 keys"));
    assert_eq!(held(&json("", ""), "2026-11-24", 0), "");

    let two = json(
        &format!(
            "{{\"public_key\": \"{A}\", \"accounts\": [\"jo\"]}},
             {{\"public_key\": \"{B}\", \"accounts\": [\"al\"], \"not_before\": \"2027-01-01T00:00:00Z\"}}"
        ),
        "",
    );
    assert_eq!(held(&two, "2026-11-24", 1), "");
    assert!(warned(&two, "2026-11-24").contains("account al: 0 keys in force"));
}

#[test]
fn f46_a_key_that_has_several_lines_is_said_to_have_them_only_where_both_could_count() {
    let twice = |first: &str, second: &str| {
        let keys =
            format!("{{\"public_key\": \"{A}\"{first}}}, {{\"public_key\": \"{A}\"{second}}}");
        warned(&json(&keys, ""), "2026-11-24").contains("it is listed twice")
    };
    assert!(twice("", ""));
    assert!(twice("", ", \"accounts\": [\"jo\"]"));
    assert!(!twice(
        ", \"accounts\": [\"al\"]",
        ", \"accounts\": [\"jo\"]"
    ));
    let (early, late) = (
        ", \"not_after\": \"2027-01-01T00:00:00Z\"",
        ", \"not_before\": \"2027-01-01T00:00:00Z\"",
    );
    assert!(!twice(early, late) && !twice(late, early));
    assert!(twice(early, ", \"not_before\": \"2026-12-31T00:00:00Z\""));

    let two = |options: &str| {
        let keys = format!(
            "{{\"public_key\": \"{A}\"}}, {{\"public_key\": \"{A}\", \"options\": [{options}]}}"
        );
        let document = parse(&json(&keys, ""));
        assert_eq!(
            counted_keys(&judge(&document, at("2026-11-24"))),
            "1 key on 2 lines"
        );
        assert!(
            held(&json(&keys, ""), "2026-11-24", 2).contains("it has 1 key in force"),
            "keys count, not lines"
        );
        warned(&json(&keys, ""), "2026-11-24")
    };
    assert!(two("").contains("in the same words; once is enough"));
    let other = two("\"restrict\"");
    assert!(
        other.contains("on different terms: both lines are installed"),
        "{other}"
    );
    assert!(!other.contains("the first counts"), "{other}");
}

#[test]
fn f46_a_difference_shows_every_line_of_a_key_and_the_same_line_once() {
    let (wide, narrow) = (A.to_owned(), format!("from=\"10.0.0.0/8\" {A}"));
    let shown = |old: &[&str], new: &[&str]| {
        let text = |lines: &[&str]| {
            lines
                .iter()
                .map(|line| format!("{line}\n"))
                .collect::<String>()
        };
        let (old, new) = (parse(&text(old)), parse(&text(new)));
        Diff::of(&old, &new)
            .render(Colour::No)
            .trim_end()
            .to_owned()
    };
    let gained = shown(&[&narrow], &[&narrow, &wide]);
    assert!(
        gained.starts_with("  ~ SHA256:") && gained.ends_with("\n      + a: every account"),
        "{gained}"
    );
    let lost = shown(&[&narrow, &wide], &[&narrow]);
    assert!(lost.ends_with("\n      - a: every account"), "{lost}");
    let new = shown(&[B], &[B, &narrow, &wide]);
    assert!(
        new.ends_with("\n      every account; options from=\"10.0.0.0/8\"\n      every account"),
        "{new}"
    );
    assert_eq!(shown(&[&narrow, &wide], &[&narrow, &wide, &narrow]), "");
    assert!(shown(&[&narrow, &wide], &[&wide, &narrow]).ends_with("its lines in another order"));
}

#[test]
fn other_words_of_warning() {
    let listed = json(
        &format!("{{\"public_key\": \"{A}\"}}, {{\"public_key\": \"{B}\"}}"),
        ", \"revoked\": [\"SHA256:zzSzOZy3Zn1OyjHGLrj7WQMRnMJZJOCwMxJtRGg1MYM\"]",
    );
    let fingerprint = parse(&listed).keys[0].line.key.fingerprint().to_string();
    let listed = listed.replace(
        "SHA256:zzSzOZy3Zn1OyjHGLrj7WQMRnMJZJOCwMxJtRGg1MYM",
        &fingerprint,
    );
    assert!(
        warned(&listed, "2026-11-24").contains(" a: it is listed and revoked"),
        "{}",
        warned(&listed, "2026-11-24")
    );
    let text = json(&format!("{{\"public_key\": \"{A}\"}}"), "").replace("\"serial\": 1, ", "");
    assert!(warned(&text, "2026-11-24").contains("it has no serial"));
    let composite = [modulus(1_312 * 8 - 1, 7), on_curve([9; 32]).to_vec()].concat();
    let recent = wire(&[b"ssh-mldsa44-ed25519@openssh.com", &composite]);
    for (line, word) in [
        (
            format!("permitlisten=\"8080\" {A}"),
            "permitlisten: an sshd before OpenSSH 7.8",
        ),
        (
            format!("verify-required {SK}"),
            "verify-required: an sshd before OpenSSH 8.4",
        ),
        (SK.to_owned(), "before OpenSSH 8.2"),
        (
            format!("ssh-mldsa44-ed25519@openssh.com {recent}"),
            "ssh-mldsa44-ed25519@openssh.com: an sshd before OpenSSH 10.4",
        ),
        (format!("expiry-time=\"20301221\" {A}"), "has no Z"),
    ] {
        let text = warned(&format!("{line}\n"), "2026-11-24");
        assert!(text.contains(word), "{word}: {text}");
    }
    let document = parse(&json(&format!("{{\"public_key\": \"{A}\"}}"), ""));
    let now = at("2026-11-24");
    let signed = warnings(&document, Form::Json, true, &judge(&document, now), 1, now);
    assert!(signed[0].contains("it has no `expires`"), "{signed:?}");
}

#[test]
fn many_warnings_of_one_sort_are_cut_short() {
    let keys: Vec<String> = (0..50)
        .map(|_| format!("{{\"public_key\": \"{A}\"}}"))
        .collect();
    let text = warned(&json(&keys.join(","), ""), "2026-11-24");
    assert_eq!(text.lines().count(), 11, "{text}");
    assert!(text.ends_with("and 39 more like it"), "{text}");
}
