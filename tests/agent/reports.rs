//! What the fleet is told of a node, and when: tags, the report object, metrics, and the plan of
//! reports.

use std::collections::BTreeMap;

use authkeys_core::config::Config;
use authkeys_core::document::LeftOut;
use authkeys_core::history::History;
use authkeys_core::key::KeyBlob;
use authkeys_core::origin::Class;
use authkeys_core::outcome::{AccountOutcome, KeyList, KeyShown, Outcome, ReportOutcome, Status};
use authkeys_core::report::json;
use authkeys_core::report::metrics::{self, Counters};
use authkeys_core::report::summary::Summary;
use authkeys_core::report::tags::{MAX_VALUE, TagNames, tags};
use authkeys_testing::numbered::ed;
use jiff::SignedDuration;
use proptest::prelude::*;

use crate::world::World;

mod pace;

const ONE: &str = "source = \"file:/k\"\n[[account]]\nuser = \"a\"\n";
const SECOND: SignedDuration = SignedDuration::from_secs(1);

fn named(name: &str, serial: u32) -> String {
    format!(
        r#"{{"version":1,"name":"{name}","serial":{serial},"keys":[{{"public_key":"{}"}}]}}"#,
        ed(1)
    )
}

/// The outcome of a cycle with this document.
fn outcome(document: &str) -> Outcome {
    let world = World::new(ONE);
    world.publish("file:/k", "v1", document);
    History::default().complete(world.cycle(), None)
}

fn of(outcome: &Outcome) -> BTreeMap<String, String> {
    tags(&Summary::of(outcome).unwrap(), &TagNames::default())
}

/// As EC2 documents it.
fn fits_ec2(tags: &BTreeMap<String, String>) {
    assert!(
        tags.len() <= 6,
        "50 is the limit of the instance, and others have some"
    );
    for (key, value) in tags {
        assert!(
            (1..=128).contains(&key.chars().count()) && value.chars().count() <= 256,
            "{key}={value}"
        );
        for text in [key, value] {
            let may = |c: char| c.is_alphanumeric() || " +-=._:/@".contains(c);
            assert!(
                text.chars().all(may) && !text.to_lowercase().starts_with("aws:"),
                "{key}={value}"
            );
        }
    }
}

#[test]
fn a_good_node_has_exactly_these_tags() {
    let good = outcome(&named("workers-2026-11", 17));
    let digest = good.accounts[0].document.digest.unwrap().to_string();
    let synced = format!("{:.0}", good.finished);
    let expected = [
        ("EC2KeyName", "workers-2026-11"),
        ("authkeysd:detail", ""),
        ("authkeysd:digest", &digest["sha256:".len()..][..16]),
        ("authkeysd:keyset", "workers-2026-11/17"),
        ("authkeysd:status", "ok"),
        ("authkeysd:synced", &synced),
    ];
    assert_eq!(
        of(&good),
        expected
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into()
    );
    assert!(
        synced.ends_with('Z') && synced.parse::<jiff::Timestamp>().is_ok(),
        "{synced}"
    );
    let nameless = of(&outcome(&format!("{}\n", ed(1))));
    assert_eq!(
        (
            nameless["authkeysd:keyset"].as_str(),
            nameless["EC2KeyName"].as_str()
        ),
        ("v1", "v1")
    );
}

#[test]
fn what_deceives_a_reader_is_in_no_report() {
    const HIDDEN: [char; 6] = [
        '\u{202e}',
        '\u{200b}',
        '\u{9b}',
        '\u{feff}',
        '\u{2066}',
        '\u{e0041}',
    ];
    let mut bad = outcome(&named("workers", 17));
    let deceptive = format!("a{}z", HIDDEN.iter().collect::<String>());
    bad.detail = deceptive.clone();
    bad.status = Status::Degraded;
    bad.sources[0].source = deceptive.clone();
    bad.sources[0].version = Some(deceptive.clone());
    let account = &mut bad.accounts[0];
    for text in [&mut account.user, &mut account.file, &mut account.detail] {
        text.clone_from(&deceptive);
    }
    let mut key = account.in_force[0].clone();
    key.comment.clone_from(&deceptive);
    account.in_force = vec![key].into();
    account.document.name = None;
    let summary = Summary::of(&bad).unwrap();
    let shown = [
        metrics::render(&bad, Some(&Counters::default())),
        format!("{:?}", tags(&summary, &TagNames::default())),
        String::from_utf8(json::pretty(&bad).unwrap()).unwrap(),
        String::from_utf8(json::compact(&bad).unwrap()).unwrap(),
    ];
    for text in shown {
        assert!(!text.chars().any(|c| HIDDEN.contains(&c)), "{text:?}");
    }
    let read: Outcome = serde_json::from_slice(&json::pretty(&bad).unwrap()).unwrap();
    assert_eq!(
        read.accounts[0].user, deceptive,
        "a program reads what it was"
    );
}

#[test]
fn names_that_instance_metadata_refuses_are_valid_and_warned_of() {
    let warnings = |report: &str| {
        let config = Config::parse(&format!("{ONE}[report]\n{report}\n")).unwrap();
        config.report.tag_names.warnings()
    };
    assert!(warnings("").is_empty());
    for fine in ["acme-ssh.keys_1:", "a+b=c@d:", "acme"] {
        assert!(
            warnings(&format!("tag_prefix = \"{fine}\"")).is_empty(),
            "{fine}"
        );
    }
    for (report, setting, bad) in [
        ("tag_prefix = \"acme/ssh/\"", "tag_prefix", "'/'"),
        ("tag_prefix = \"acme ssh\"", "tag_prefix", "' '"),
        ("tag_prefix = \"schlüssel\"", "tag_prefix", "'ü'"),
        ("tag_prefix = \"ключи\"", "tag_prefix", "'к'"),
        ("key_name_tag = \"EC2 Key/Name\"", "key_name_tag", "' '"),
        ("key_name_tag = \"acme/keys\"", "key_name_tag", "'/'"),
        ("key_name_tag = \"_index\"", "key_name_tag", "\"_index\""),
        ("key_name_tag = \"..\"", "key_name_tag", "\"..\""),
        ("key_name_tag = \".\"", "key_name_tag", "\".\""),
    ] {
        let warnings = warnings(report);
        assert_eq!(warnings.len(), 1, "{report}: {warnings:?}");
        let words = [setting, &format!("EC2 refuses {bad} in"), "metadata"];
        assert!(
            words.iter().all(|word| warnings[0].contains(word)),
            "{warnings:?}"
        );
    }
    assert_eq!(
        warnings("tag_prefix = \"a/\"\nkey_name_tag = \"b/\"").len(),
        2
    );
    // The reference of CreateTags has one character less than the guide.
    for (length, count) in [(127, 0), (128, 1)] {
        assert_eq!(
            warnings(&format!("key_name_tag = \"{}\"", "k".repeat(length))).len(),
            count,
            "{length}"
        );
    }
    assert_eq!(
        warnings(&format!("tag_prefix = \"{}\"", "x".repeat(121))).len(),
        1
    );
}

#[test]
fn tags_names_are_the_configurations() {
    let names = |report: &str| {
        Config::parse(&format!("{ONE}[report]\n{report}\n")).map(|config| config.report.tag_names)
    };
    let all = names("tag_prefix = \"acme/ssh/\"\nkey_name_tag = \"Keys\"")
        .unwrap()
        .all();
    assert_eq!(
        all,
        [
            "acme/ssh/status",
            "acme/ssh/keyset",
            "acme/ssh/digest",
            "acme/ssh/synced",
            "acme/ssh/detail",
            "Keys"
        ]
    );
    assert_eq!(
        names("tag_prefix = \"acme\"").unwrap().name("status"),
        "acme:status"
    );
    // The longest name, with the prefix and its colon, has EC2's 128 characters; what is too long
    // is told with the number that fits.
    let long = |text: &str| format!("tag_prefix = \"{text}\"");
    for (fits, most, end) in [
        ("x".repeat(121), 121, "x"),
        ("x".repeat(121) + "/", 122, "/"),
    ] {
        assert_eq!(
            names(&long(&fits)).unwrap().name("status").chars().count(),
            128
        );
        let fault = names(&long(&format!("x{fits}"))).unwrap_err()[0].to_string();
        assert!(
            fault.contains(&format!("must have 1 to {most} characters")),
            "{end}: {fault}"
        );
    }
    let long = long(&"x".repeat(122));
    for bad in [
        "tag_prefix = \"aws:x\"",
        "key_name_tag = \"AWS:x\"",
        "key_name_tag = \"\"",
        "key_name_tag = \"a,b\"",
        "key_name_tag = \" a\"",
        "key_name_tag = \"authkeysd:status\"",
        "tag_prefix = \"\"",
        &long,
        "heartbeat = \"0s\"",
        "heartbeat = \"8785h\"",
        "heartbeat = \"2562047788015215h\"",
        "report_spread = \"-1s\"",
        "prometheus = \"/x/y.txt\"",
        "s3 = \"s3://b/p?version_id=1\"",
        "s3 = \"file:/x\"",
        "s3_sse = \"aws:kms\"",
        "s3 = \"s3://b/p\"\ns3_sse = \"kms\"",
        "s3 = \"s3://b/p\"\ns3_sse = \"aws:kms:a b\"",
        "ec2_tag = true",
    ] {
        assert_eq!(names(bad).unwrap_err().len(), 1, "{bad}");
    }
    let report = Config::parse(&format!(
        "{ONE}[report]\ns3 = \"s3://b/p?region=eu-west-1\"\n"
    ))
    .unwrap()
    .report;
    let place = report.s3.unwrap();
    assert_eq!(
        (place.url().as_str(), place.region.as_deref()),
        ("s3://b/p/", Some("eu-west-1"))
    );
    assert!(!report.ec2_tags && report.pace.heartbeat == SignedDuration::from_hours(6));
    assert_eq!(
        Config::parse(&format!("{ONE}[report]\ns3 = \"s3://b\"\n"))
            .unwrap()
            .report
            .s3
            .unwrap()
            .url(),
        "s3://b/"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]
    #[test]
    fn whatever_a_key_set_or_a_fault_is_called_ec2_takes_the_tags(
        name in "[A-Za-z0-9._:/@+=-]{1,128}",
        serial in 0_u64..=(1 << 53),
        version in ".{0,300}",
        detail in ".{0,600}",
    ) {
        let mut named = outcome(&format!(
            r#"{{"version":1,"name":"{name}","serial":{serial},"keys":[{{"public_key":"{}"}}]}}"#, ed(1)
        ));
        named.status = Status::Failed;
        named.detail = detail;
        let told = of(&named);
        fits_ec2(&told);
        let expected = format!("{name}/{serial}");
        let lower = name.to_lowercase();
        prop_assert!(told["authkeysd:keyset"] == expected || lower.starts_with("aws:"));
        named.accounts[0].document.name = None;
        named.sources[0].version = Some(version);
        fits_ec2(&of(&named));
    }
}

#[test]
fn the_detail_says_why_and_holds_no_ids() {
    let mut bad = outcome(&named("w", 1));
    bad.status = Status::Stale;
    bad.stale_cycles = 3;
    bad.detail = "s3://acme-ssh-keys/prod/workers.json: S3 GetObject answered 403 AccessDenied, \
                  request id 4YPZ7Q0K0PLAUG4H: User: \
                  arn:aws:sts::123456789012:assumed-role/agent/i-0123456789abcdef0 is not allowed, \
                  key AKIAIOSFODNN7EXAMPLE, SHA256:2PZ7Q0k0PlAUG4h6cB1Yy3m3mT0cZ3m0b0p2xqv0lXk, \
                  account 123456789012, 59dbff89-35bd-4eac-99ed-be587a1b2c3d; allow s3:GetObject"
        .to_owned();
    let told = of(&bad);
    fits_ec2(&told);
    let detail = &told["authkeysd:detail"];
    assert!(
        detail.starts_with(
            "s3://acme-ssh-keys/prod/workers.json: S3 GetObject answered 403 AccessDenied"
        ),
        "{detail}"
    );
    for id in [
        "4YPZ",
        "123456789012",
        "i-0123",
        "assumed",
        "AKIA",
        "2PZ7",
        "59dbff89",
        "request id",
    ] {
        assert!(!detail.contains(id), "{id}: {detail}");
    }
    assert!(detail.ends_with("allow s3:GetObject"), "{detail}");
    bad.detail = "é ".repeat(9_999);
    let detail = &of(&bad)["authkeysd:detail"];
    assert!(
        detail.chars().count() == MAX_VALUE && detail.ends_with("..."),
        "{detail}"
    );
}

#[test]
fn stale_is_told_after_three_cycles_in_a_row_and_every_other_state_at_once() {
    let world = World::new(ONE);
    world.publish("file:/k", "v1", &named("w", 1));
    let mut history = History::default();
    let mut next = |world: &World| {
        let outcome = history.complete(world.cycle(), None);
        history.remember(outcome.clone());
        Summary::of(&outcome).map(|summary| (summary.status, summary.keyset))
    };
    let told = |status| Some((status, "w/1".to_owned()));
    assert_eq!(next(&world), told(Status::Ok));
    world.fail("file:/k", Class::Transient);
    assert_eq!(
        [next(&world), next(&world), next(&world)],
        [None, None, told(Status::Stale)]
    );
    assert_eq!(next(&world), told(Status::Stale));
    world.publish("file:/k", "v1", &named("w", 1));
    assert_eq!(next(&world), told(Status::Ok));
    world.fail("file:/k", Class::Denied);
    assert_eq!(next(&world), None, "it counts from the start again");
    let fresh = World::new(ONE);
    let nothing = History::default().complete(fresh.cycle(), None);
    let told = of(&nothing);
    assert_eq!(
        (
            told["authkeysd:status"].as_str(),
            told["authkeysd:keyset"].as_str()
        ),
        ("failed", "")
    );
    assert!(
        !told["authkeysd:detail"].is_empty() && told["EC2KeyName"].is_empty(),
        "{told:?}"
    );
}

#[test]
fn other_words_for_the_same_are_no_news() {
    let mut one = outcome(&named("w", 1));
    let news = |outcome: &Outcome| Summary::of(outcome).unwrap().news();
    let before = news(&one);
    one.finished += SECOND;
    assert_eq!(news(&one), before);
    one.status = Status::Failed;
    one.detail = "one reason, request id 1".to_owned();
    let failed = news(&one);
    assert_ne!(failed, before);
    one.detail = "one reason, request id 2".to_owned();
    assert_eq!(news(&one), failed);
    assert_ne!(news(&outcome(&named("w", 2))), before);
}

#[test]
fn metrics_tell_the_node_and_escape_what_others_named() {
    let mut good = outcome(&named("w", 17));
    good.sources[0].source = "file:/a\"b\\c\nd".to_owned();
    good.reports = vec![ReportOutcome::new("ec2_tags")];
    let mut counters = Counters::default();
    counters.cycle(&good);
    counters.cycle(&good);
    counters.report("ec2_tags", false);
    let text = metrics::render(&good, Some(&counters));
    let seconds = good.finished.as_millisecond() as f64 / 1_000.0;
    for line in [
        "# TYPE authkeysd_status gauge",
        "authkeysd_status{status=\"ok\"} 1",
        "authkeysd_status{status=\"failed\"} 0",
        &format!("authkeysd_cycle_end_timestamp_seconds {seconds}"),
        "authkeysd_source_up{source=\"file:/a\\\"b\\\\c d\"} 1",
        "authkeysd_document_serial{source=\"file:/a\\\"b\\\\c d\"} 17",
        "authkeysd_account_keys{account=\"a\"} 1",
        "authkeysd_cycles_total{status=\"ok\"} 2",
        "authkeysd_keys_added_total 2",
        "authkeysd_reports_total{report=\"ec2_tags\",result=\"failed\"} 1",
    ] {
        assert!(
            text.lines().any(|found| found == line),
            "{line}\nis not in\n{text}"
        );
    }
    assert!(
        !metrics::render(&good, None).contains("_total"),
        "sync counts nothing"
    );
}

#[test]
fn f57_a_status_stays_short_whatever_the_accounts_and_keys() {
    let key = KeyBlob::recognise(ed(1).split(' ').nth(1).unwrap().as_bytes()).unwrap();
    for (accounts, comment, listed) in [
        (1, 10, 100),
        (100, 10, 100),
        (1_000, 10, 20),
        (100, 8_000, 3),
    ] {
        let keys: KeyList =
            std::iter::repeat_n(KeyShown::new(&key, &"x".repeat(comment)), 4_096).collect();
        let mut account = AccountOutcome::new(None);
        (account.in_force, account.added, account.removed) =
            (keys.clone(), keys.clone(), keys.clone());
        account.updated = keys;
        let bad = LeftOut {
            line: 1,
            reason: "y".repeat(300),
        };
        account.left_out = vec![bad; 4_096];
        account.count_keys();
        let mut outcome = outcome(&named("w", 1));
        outcome.accounts = vec![account; accounts];
        let short = outcome.shortened();
        let found = &short.accounts[0];
        assert_eq!(
            (found.in_force.len(), found.counts),
            (listed, outcome.accounts[0].counts)
        );
        assert_eq!(found.counts.left_out, 4_096);
        assert!(found.has_keys_of(&outcome.accounts[0]) && !found.lists_all_in_force());
        let bytes = serde_json::to_vec_pretty(&short).unwrap().len();
        assert!(bytes < 64 << 20, "{accounts} accounts: {bytes} bytes");
    }
}
