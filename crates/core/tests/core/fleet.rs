//! What nodes say of themselves, and what it comes to.

use authkeys_core::fleet::table::{self, Layout};
use authkeys_core::fleet::{
    Filter, Fleet, KeySet, Node, NodeState, ShortDigest, Wanted, Word, html,
};
use authkeys_core::report::tags::TagNames;
use authkeys_core::report::text::Colour;
use authkeys_testing::fleet::{NEW, OLD, judged, many, node, said, view};

fn states(fleet: &Fleet) -> Vec<(&str, NodeState)> {
    let mut states: Vec<_> = fleet
        .rows
        .iter()
        .map(|row| (row.node.id.as_str(), row.state))
        .collect();
    states.sort();
    states
}

fn only(node: Node) -> (NodeState, String) {
    let fleet = judged(vec![node]);
    (fleet.rows[0].state, fleet.rows[0].why.clone())
}

fn garbled(tags: &[(&str, &str)]) -> String {
    match node("i-1", "", tags).word {
        Word::Garbled(why) => why,
        word => panic!("{word:?}"),
    }
}

#[test]
fn each_word_of_a_node_has_its_state() {
    let silent = [
        ("status", "failed"),
        ("synced", "2026-11-23T23:59:59Z"),
        ("detail", "old news"),
    ];
    let fleet = judged(vec![
        said("ok", "ok", "workers/17", NEW, ""),
        said("behind", "ok", "workers/16", OLD, ""),
        said(
            "stale",
            "stale",
            "workers/16",
            OLD,
            "S3 GetObject answered 403",
        ),
        said(
            "degraded",
            "degraded",
            "workers/17",
            NEW,
            "bob: does not exist",
        ),
        said("failed", "failed", "", "", "no key set is known"),
        node("silent", "", &silent),
        node("unreported", "", &[]),
    ]);
    let expected = [
        ("behind", NodeState::Behind),
        ("degraded", NodeState::Degraded),
        ("failed", NodeState::Failed),
        ("ok", NodeState::Ok),
        ("silent", NodeState::Silent),
        ("stale", NodeState::Stale),
        ("unreported", NodeState::Unreported),
    ];
    assert_eq!(states(&fleet), expected);
    let order: Vec<_> = fleet.rows.iter().map(|row| row.node.id.as_str()).collect();
    assert_eq!(
        order,
        [
            "failed",
            "silent",
            "unreported",
            "degraded",
            "stale",
            "behind",
            "ok"
        ]
    );
    let behind: Vec<_> = fleet
        .rows
        .iter()
        .filter(|row| row.behind)
        .map(|row| row.node.id.as_str())
        .collect();
    assert_eq!(
        behind,
        ["stale", "behind"],
        "a node's own word comes first, and yet its key set is counted"
    );
    assert_eq!(fleet.done(), 1);
}

#[test]
fn a_node_is_silent_after_two_heartbeats_and_not_before() {
    let at = |synced| only(node("i-1", "", &[("status", "ok"), ("synced", synced)])).0;
    assert_eq!(at("2026-11-24T00:00:00Z"), NodeState::Ok);
    assert_eq!(at("2026-11-23T23:59:59Z"), NodeState::Silent);
    assert_eq!(
        at("2026-11-24T12:09:00Z"),
        NodeState::Ok,
        "clocks differ a little"
    );
    assert_eq!(
        at("2099-01-01T00:00:00Z"),
        NodeState::Silent,
        "no node buys silence with a date"
    );
}

#[test]
fn what_makes_no_sense_is_no_report_and_never_ok() {
    let time = ("synced", "2026-11-24T11:59:00Z");
    assert_eq!(garbled(&[time]), "it has no status");
    assert_eq!(garbled(&[("status", "ok")]), "it has no time");
    assert_eq!(
        garbled(&[("status", "splendid"), time]),
        "it has the unknown status \"splendid\""
    );
    assert_eq!(
        garbled(&[("status", "ok"), ("synced", "yesterday")]),
        "\"yesterday\" is not a time"
    );
    assert!(garbled(&[("status", "ok"), time, ("digest", "xyz")]).contains("is not a digest"));
    assert!(
        garbled(&[("detail", "")]).contains("no status"),
        "a tag of ours, though an empty one"
    );
    let (state, why) = only(node("i-1", "", &[("status", "ok")]));
    assert_eq!(
        (state, why.as_str()),
        (
            NodeState::Unreported,
            "its report makes no sense: it has no time"
        )
    );
}

#[test]
fn tags_of_another_prefix_are_not_ours() {
    let tags = [
        ("authkeysd:status", "ok"),
        ("authkeysd:synced", "2026-11-24T11:59:00Z"),
        ("Name", "web-1"),
    ];
    let ours = TagNames::default().node("i-1", tags);
    assert_eq!(
        (ours.name.as_str(), ours.report().is_some()),
        ("web-1", true)
    );
    let keys = TagNames::new(Some("keys/".to_owned()), None).unwrap();
    assert_eq!(keys.node("i-1", tags).word, Word::None);
    let other = [
        ("keys/status", "ok"),
        ("keys/synced", "2026-11-24T11:59:00Z"),
    ];
    assert!(keys.node("i-1", other).report().is_some());
}

#[test]
fn the_newest_is_by_serial_within_a_name() {
    let fleet = judged(vec![
        said("web-old", "ok", "web/9", OLD, ""),
        said("web-new", "ok", "web/10", NEW, ""),
        said("db", "ok", "db/3", OLD, ""),
        said("slashes", "ok", "prod/web/2", OLD, ""),
    ]);
    let ok = NodeState::Ok;
    assert_eq!(
        states(&fleet),
        [
            ("db", ok),
            ("slashes", ok),
            ("web-new", ok),
            ("web-old", NodeState::Behind)
        ]
    );
    assert_eq!(fleet.rows[0].why, "the newest is web/10");
    assert!(
        fleet.remarks()[0].starts_with("3 key sets are followed here"),
        "{:?}",
        fleet.remarks()
    );
}

#[test]
fn a_key_set_that_is_named_for_its_month_stays_the_same_key_set() {
    let fleet = judged(vec![
        said("october", "ok", "workers-2026-10/16", OLD, ""),
        said("november", "ok", "workers-2026-11/17", NEW, ""),
    ]);
    assert_eq!(
        states(&fleet),
        [("november", NodeState::Ok), ("october", NodeState::Behind)]
    );
    assert_eq!(fleet.rows[0].why, "the newest is workers-2026-11/17");
}

#[test]
fn another_content_under_the_newest_serial_is_not_the_newest() {
    let fleet = judged(vec![
        said("a", "ok", "web/9", NEW, ""),
        said("b", "ok", "web/9", NEW, ""),
        said("c", "ok", "web/9", OLD, ""),
    ]);
    assert_eq!(
        states(&fleet),
        [
            ("a", NodeState::Ok),
            ("b", NodeState::Ok),
            ("c", NodeState::Behind)
        ]
    );
    assert_eq!(
        fleet.rows[0].why,
        "another content under web/9 than most nodes have"
    );
}

#[test]
fn key_sets_without_a_serial_have_no_order_and_that_is_said() {
    let fleet = judged(vec![
        said("a", "ok", "v1", NEW, ""),
        said("b", "ok", "v2", OLD, ""),
    ]);
    assert_eq!(states(&fleet), [("a", NodeState::Ok), ("b", NodeState::Ok)]);
    assert!(fleet.held().iter().all(|held| held.newest.is_none()));
    assert!(fleet.remarks()[0].contains("have no order"));
}

#[test]
fn key_sets_are_counted_with_the_newest_first() {
    let held: Vec<_> = judged(many(100))
        .held()
        .iter()
        .map(|held| {
            (
                held.key_set.as_ref().unwrap().to_string(),
                held.nodes,
                held.newest,
            )
        })
        .collect();
    assert_eq!(
        held,
        [
            ("workers/17".to_owned(), 90, Some(true)),
            ("workers/16".to_owned(), 9, Some(false))
        ]
    );
}

#[test]
fn what_is_asked_for_is_a_serial_or_a_digest() {
    let at = |wanted: &str, status: &str, key_set: &str, digest: &str| {
        let fleet = view(Some(wanted)).judge(vec![said("i-1", status, key_set, digest, "why")]);
        (fleet.rows[0].state, fleet.done() == 1)
    };
    assert_eq!(at("web/17", "ok", "web/17", NEW), (NodeState::Ok, true));
    assert_eq!(
        at("web/17", "ok", "web/18", NEW),
        (NodeState::Ok, true),
        "published again meanwhile"
    );
    assert_eq!(
        at("web/17", "ok", "web/16", OLD),
        (NodeState::Behind, false)
    );
    assert_eq!(at("web/17", "ok", "db/17", NEW), (NodeState::Behind, false));
    assert_eq!(
        at("web/17", "ok", "version", NEW),
        (NodeState::Behind, false)
    );
    assert_eq!(at(NEW, "ok", "version", NEW), (NodeState::Ok, true));
    assert_eq!(at(NEW, "ok", "web/17", OLD), (NodeState::Behind, false));
    // It has the document, but not all of it is in force.
    assert_eq!(
        at(NEW, "degraded", "web/17", NEW),
        (NodeState::Degraded, false)
    );
    assert_eq!(at(NEW, "failed", "web/17", NEW), (NodeState::Failed, false));
    // It has all of it in force, and its source is away since.
    assert_eq!(at(NEW, "stale", "web/17", NEW), (NodeState::Stale, true));
    let never = view(Some(NEW)).judge(vec![node("i-1", "", &[])]);
    assert_eq!((never.done(), never.rows[0].behind), (0, true));
}

#[test]
fn documents_that_are_asked_for_are_read() {
    let digest = "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08";
    for text in [digest, &digest[7..], NEW, &NEW.to_uppercase()] {
        assert_eq!(text.parse::<Wanted>().unwrap().to_string(), NEW, "{text}");
    }
    assert_eq!(
        "prod/workers/17".parse::<Wanted>().unwrap().to_string(),
        "prod/workers/17"
    );
    for text in [
        "",
        "workers",
        "workers/",
        "/17",
        "workers/+17",
        "workers/9007199254740993",
        "9f86d081884c7d6",
        "sha256:",
        "é",
    ] {
        assert!(text.parse::<Wanted>().is_err(), "{text}");
    }
    assert_eq!(
        KeySet::parse("a b/17"),
        KeySet::Version("a b/17".to_owned()),
        "no such name exists"
    );
    assert!(ShortDigest::parse(&format!("{NEW}0")).is_err());
}

#[test]
fn filters_are_those_of_ec2() {
    let filters: Vec<Filter> = ["tag:Role=worker", "tag:Env=prod", "tag:Role=db=1"]
        .map(|f| f.parse().unwrap())
        .into();
    let grouped = Filter::grouped(&filters);
    assert_eq!(grouped["tag:Role"], ["worker", "db=1"]);
    assert_eq!(grouped["tag:Env"], ["prod"]);
    assert_eq!(Filter::shown(&filters[..2]), "tag:Role=worker tag:Env=prod");
    // As long as EC2's tags are; a value that is longer cannot be one.
    let filter = |key: usize, value: usize| {
        format!("tag:{}={}", "ü".repeat(key), "ü".repeat(value)).parse::<Filter>()
    };
    assert!(filter(128, 256).is_ok() && filter(1, 0).is_ok());
    assert!(filter(129, 256).is_err() && filter(128, 257).is_err());
    for bad in [
        "",
        "Role=worker",
        "tag:Role",
        "tag:=worker",
        "tag:Ro\nle=x",
        "instance-state-name=running",
    ] {
        let fault = bad.parse::<Filter>().unwrap_err();
        assert!(
            fault.contains("write tag:KEY=VALUE") && !fault.contains('\n'),
            "{fault}"
        );
    }
}

#[test]
fn a_report_object_says_what_tags_say_and_where_it_comes_from() {
    let object = |id: &str, keyset: &str, source: &str| {
        let text = format!(
            r#"{{"schema":1,"node":"{id}","host":"web-1","status":"ok","detail":"","keyset":"{keyset}","digest":"{NEW}",
               "synced":"2026-11-24T11:59:00Z","stale_cycles":0,"later":[1],"sources":[{{"source":"file:/x","digest":null}},
               {{"source":"{source}?region=eu-west-1","digest":"sha256:{NEW}{NEW}{NEW}{NEW}"}}]}}"#
        );
        authkeys_core::fleet::object::node(id, text.as_bytes())
    };
    let fleet = judged(vec![
        object("a", "rotation-16/16", "s3://keys/prod.json"),
        object("b", "rotation-17/17", "s3://keys/prod.json"),
        object("c", "rotation-9/9", "s3://keys/staging.json"),
    ]);
    // One source has one newest key set, whatever it is called.
    assert_eq!(
        states(&fleet),
        [
            ("a", NodeState::Behind),
            ("b", NodeState::Ok),
            ("c", NodeState::Ok)
        ]
    );
    assert_eq!(fleet.rows[0].node.name, "web-1");
    for bad in [
        "",
        "[]",
        "{}",
        "{\"status\":1}",
        "<html>",
        "{\"status\":\"ok\",\"synced\":\"\"}",
    ] {
        let node = authkeys_core::fleet::object::node("a", bad.as_bytes());
        assert!(matches!(node.word, Word::Garbled(_)), "{bad}: {node:?}");
    }
}

#[test]
fn a_hostile_report_object_is_one_short_row_whatever_it_holds() {
    let huge = "\u{1b}[2J編 x".repeat(20_000);
    let object = |field: &str, value: &str| {
        let mut object = serde_json::json!({
            "schema": 1, "host": "web-1", "status": "failed", "keyset": "workers/17", "digest": NEW,
            "synced": "2026-11-24T11:59:00Z", "detail": "no space left",
            "sources": [{"source": "s3://k/w.json", "digest": format!("sha256:{NEW}")}],
        });
        match field {
            "source" => object["sources"][0]["source"] = value.into(),
            field => object[field] = value.into(),
        }
        object.to_string()
    };
    let deep = format!(
        r#"{{"status":"ok","synced":"2026-11-24T11:59:00Z","x":{}{}}}"#,
        "[".repeat(90_000),
        "]".repeat(90_000)
    );
    let mut bad: Vec<String> = [
        "host", "status", "keyset", "digest", "synced", "detail", "source",
    ]
    .into_iter()
    .map(|field| object(field, &huge))
    .collect();
    bad.extend([
        deep,
        "[".repeat(200_000),
        object("schema", "x").replace("\"failed\"", "[\"failed\"]"),
        format!(
            "{{\"status\":\"ok\",{}\"synced\":1e999}}",
            "\"a\":1,".repeat(20_000)
        ),
        format!("{}{}", object("host", "a"), object("host", "b")),
        "\"\\ud800\"".to_owned(),
    ]);
    let nodes = bad.iter().zip(0..).map(|(text, at): (_, u32)| {
        authkeys_core::fleet::object::node(&format!("i-{at}"), text.as_bytes())
    });
    let fleet = judged(nodes.collect());
    // Only what is deep in a field that nobody reads is a report all the same.
    assert_eq!(fleet.count(NodeState::Ok), 1);
    for layout in [
        Layout {
            colour: Colour::No,
            width: Some(80),
            all: true,
        },
        Layout {
            colour: Colour::No,
            width: None,
            all: true,
        },
    ] {
        let text = table::render(&fleet, &layout);
        assert!(
            text.len() < 20_000 && !text.contains('\u{1b}'),
            "{} bytes",
            text.len()
        );
    }
    let page = html::render(&fleet);
    assert!(page.len() < 80_000, "{} bytes", page.len());
}
