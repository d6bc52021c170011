//! What the services seldom answer to `history`, `show` and `rollback`: lists of many pages,
//! refusals, an object that is replaced between two calls.

use crate::desk::document;
use authkeys_testing::s3_stub::{Stub, StubAnswer};
use authkeys_testing::{Key, Run, clean_ctl, outcome_of, stand_in};
use serde_json::json;

const SECRET: &str = "secretsmanager:prod/keys";
const OBJECT: &str = "s3://keys/workers.json";

fn run(stub: &Stub, arguments: &[&str]) -> Run {
    outcome_of(clean_ctl().envs(stand_in(&stub.endpoint())).args(arguments))
}

fn value(id: &str, text: &str) -> StubAnswer {
    StubAnswer::json(
        &json!({"VersionId": id, "SecretString": text, "VersionStages": []}).to_string(),
    )
}

fn object(tag: &str, text: &str) -> StubAnswer {
    StubAnswer::whole("200 OK", &[&format!("ETag: \"{tag}\"")], text)
}

fn denied() -> StubAnswer {
    StubAnswer::error("403 Forbidden", "AccessDenied", "no", &[])
}

#[test]
fn a_secret_with_more_than_a_hundred_versions_is_listed_page_by_page() {
    let key = Key::new("k");
    let entry = |at: u32, stages: &[&str]| json!({"VersionId": format!("v{at}"), "CreatedDate": 1_700_000_000 + at, "VersionStages": stages});
    let first: Vec<_> = (0..100).map(|at| entry(at, &[])).collect();
    let second = [entry(100, &["AWSPREVIOUS"]), entry(101, &["AWSCURRENT"])];
    let stub = Stub::start([
        StubAnswer::json(&json!({"Versions": first, "NextToken": "more"}).to_string()),
        StubAnswer::json(&json!({"Versions": second}).to_string()),
        value("v100", &document(Some(8), &[&key])),
        value("v100", &document(Some(8), &[&key])),
    ]);
    let history = run(&stub, &["history", SECRET, "--limit", "1"]);
    history.succeeds();
    let lines: Vec<&str> = history.stdout.lines().collect();
    assert!(
        lines.len() == 3 && lines[1].starts_with("v101"),
        "{history:?}"
    );
    assert_eq!(lines[2], "there are older versions; --limit shows more");
    let asked = stub.requests();
    assert!(
        asked[0].body.contains("\"IncludeDeprecated\":true"),
        "{}",
        asked[0].body
    );
    assert!(
        asked[1].body.contains("\"NextToken\":\"more\""),
        "{}",
        asked[1].body
    );
    assert!(
        asked[2..].iter().all(|call| call.body.contains("v10")),
        "the newest alone are read: {asked:?}"
    );
    // By their ids, whatever labels move meanwhile.
    assert!(
        asked[2..]
            .iter()
            .all(|call| !call.body.contains("VersionStage")),
        "{asked:?}"
    );
}

fn list_of_objects(next: &str) -> StubAnswer {
    let version = "<Version><Key>workers.json</Key><VersionId>v1</VersionId><IsLatest>true</IsLatest>\
                   <LastModified>2026-01-01T00:00:00Z</LastModified></Version>";
    let body =
        format!("<?xml version=\"1.0\"?><ListVersionsResult>{version}{next}</ListVersionsResult>");
    StubAnswer::whole("200 OK", &["Content-Type: application/xml"], &body)
}

#[test]
fn an_objects_own_versions_and_delete_markers_are_listed_over_all_pages_and_no_further_than_asked_for()
 {
    let entry = |kind: &str, key: &str, at: u32, latest: bool| {
        format!(
            "<{kind}><Key>{key}</Key><VersionId>v{at}</VersionId><IsLatest>{latest}</IsLatest>\
             <LastModified>2026-01-01T00:{:02}:{:02}Z</LastModified></{kind}>",
            at / 60,
            at % 60
        )
    };
    let page = |entries: &str, next: Option<u32>| {
        let next = next.map_or("<IsTruncated>false</IsTruncated>".to_owned(), |at| {
            format!(
                "<IsTruncated>true</IsTruncated><NextKeyMarker>workers.json</NextKeyMarker>\
                 <NextVersionIdMarker>v{at}</NextVersionIdMarker>"
            )
        });
        let body = format!(
            "<?xml version=\"1.0\"?><ListVersionsResult>{entries}{next}</ListVersionsResult>"
        );
        StubAnswer::whole("200 OK", &["Content-Type: application/xml"], &body)
    };
    let versions = |from: u32, to: u32| -> String {
        (to..from)
            .rev()
            .map(|at| entry("Version", "workers.json", at, at == 2_499))
            .collect()
    };
    let text = document(Some(7), &[&Key::new("k")]);
    let first = || page(&versions(2_500, 1_500), Some(1_500));
    let second = || {
        page(
            &(versions(1_500, 501) + &entry("DeleteMarker", "workers.json", 500, false)),
            Some(500),
        )
    };
    let third = || {
        page(
            &(versions(500, 0) + &entry("Version", "workers.json.old", 9, true)),
            None,
        )
    };

    let stub = Stub::start([first(), second(), third(), object("e", &text)]);
    let history = run(&stub, &["history", OBJECT, "--limit", "60000", "--json"]);
    let shown: serde_json::Value = serde_json::from_str(&history.stdout).unwrap();
    let listed = shown["versions"].as_array().unwrap();
    assert_eq!((listed.len(), &shown["complete"]), (2_500, &json!(true)));
    assert_eq!(
        (&listed[1_999]["state"], &listed[1_999]["stored_version"]),
        (&json!("deleted"), &json!("v500"))
    );
    let asked = stub.requests();
    assert!(
        asked[1].target.contains("key-marker=workers.json")
            && asked[1].target.contains("version-id-marker=v1500")
    );
    assert!(
        asked[2].target.contains("version-id-marker=v500")
            && asked[3].target.contains("versionId=")
    );

    // The one of that time is on the second page: the third is not asked for.
    let stub = Stub::start([first(), second(), object("e", &text)]);
    let then = run(&stub, &["show", OBJECT, "--at", "2026-01-01T00:16:45.5Z"]);
    assert!(
        then.status == 0 && then.stdout.contains("version   v1005"),
        "{then:?}"
    );
    assert_eq!(stub.requests().len(), 3);
    let stub = Stub::start([first(), second(), third()]);
    run(&stub, &["show", OBJECT, "--at", "2026-01-01T00:08:20Z"])
        .fails(1, &[&["nothing was published there at"]]);
}

#[test]
fn a_list_whose_pages_go_round_in_a_circle_is_not_taken_for_the_whole() {
    let next = "<IsTruncated>true</IsTruncated><NextKeyMarker>workers.json</NextKeyMarker>\
                <NextVersionIdMarker>v1</NextVersionIdMarker>";
    for (source, page) in [
        (OBJECT, list_of_objects(next)),
        (
            SECRET,
            StubAnswer::json(&json!({"Versions": [], "NextToken": "again"}).to_string()),
        ),
        (
            "ssm:/prod/keys",
            StubAnswer::json(&json!({"Parameters": [], "NextToken": "again"}).to_string()),
        ),
    ] {
        let stub = Stub::start([page]);
        run(&stub, &["history", source])
            .fails(1, &[&[source, "has no last page", "check the endpoint"]]);
        assert_eq!(
            stub.requests().len(),
            2,
            "the same page is not asked for for ever"
        );
    }
}

#[test]
fn a_refusal_names_what_to_allow_and_one_version_that_cannot_be_read_does_not_hide_the_others() {
    let key = Key::new("k");
    let stub = Stub::start([denied()]);
    run(&stub, &["history", OBJECT]).fails(77, &[&["s3:ListBucketVersions", "arn:aws:s3:::keys"]]);
    let stub = Stub::start([StubAnswer::json_error(
        "400 Bad Request",
        "AccessDeniedException",
        "no",
    )]);
    run(&stub, &["history", "ssm:/prod/keys"]).fails(77, &[&["ssm:GetParameterHistory"]]);
    let list = json!({"Versions": [
        {"VersionId": "now", "CreatedDate": 1_700_000_001, "VersionStages": ["AWSCURRENT"]},
        {"VersionId": "gone", "CreatedDate": 1_700_000_000, "VersionStages": []},
    ]});
    let gone =
        || StubAnswer::json_error("400 Bad Request", "ResourceNotFoundException", "no value");
    let stub = Stub::start([StubAnswer::json(&list.to_string()), gone(), gone()]);
    let history = run(&stub, &["history", SECRET]);
    history.succeeds();
    assert_eq!(
        history.stdout.matches("no document: ").count(),
        2,
        "{history:?}"
    );
    // The same at a time: that one version was wanted.
    let stub = Stub::start([
        StubAnswer::json(&list.to_string()),
        value("now", &document(Some(8), &[&key])),
    ]);
    let shown = run(&stub, &["show", SECRET, "--at", "2024-01-01T00:00:00Z"]);
    assert!(
        shown.status == 0 && shown.stdout.contains("workers/8"),
        "{shown:?}"
    );
}

#[test]
fn where_the_versions_in_between_cannot_be_listed_a_rollback_asks() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let (old, new) = (document(Some(7), &[&one]), document(Some(8), &[&one, &two]));
    let stub = Stub::start([object("new", &new), object("old", &old), denied()]);
    let back = run(&stub, &["rollback", OBJECT, "--to", "v1"]);
    back.fails(
        1,
        &[
            &[
                "warning: the versions since then cannot be read",
                "s3:ListBucketVersions",
            ],
            &["nothing was written", "--yes"],
        ],
    );
    assert!(
        stub.requests().iter().all(|call| call.method == "GET"),
        "nothing was written"
    );
}

#[test]
fn an_object_that_is_replaced_between_reading_and_writing_is_not_overwritten() {
    let (one, two) = (Key::new("one"), Key::new("two"));
    let (seen, now) = (document(Some(7), &[&one]), document(Some(8), &[&two]));
    for arguments in [
        &["grant", OBJECT, &two.line][..],
        &["revoke", OBJECT, &one.fingerprint(), "--yes"],
    ] {
        let failed = StubAnswer::error("412 Precondition Failed", "PreconditionFailed", "no", &[]);
        let stub = Stub::start([object("seen", &seen), failed, object("now", &now)]);
        let lost = run(&stub, arguments);
        assert_eq!(lost.status, 1, "{lost:?}");
        let told = "somebody else published meanwhile (now serial 8, version now); nothing was \
                    overwritten";
        assert!(lost.stderr.contains(told), "{lost:?}");
        let put = stub
            .requests()
            .into_iter()
            .find(|call| call.method == "PUT")
            .unwrap();
        assert_eq!(put.header("if-match"), Some("\"seen\""));
        assert!(
            put.header("x-amz-checksum-sha256").is_some(),
            "Object Lock asks for one: {put:?}"
        );
    }
}

#[test]
fn an_object_without_versions_that_is_replaced_meanwhile_is_not_shown_under_the_old_time() {
    let key = Key::new("k");
    let listed = StubAnswer::whole(
        "200 OK",
        &["Content-Type: application/xml"],
        "<?xml version=\"1.0\"?><ListVersionsResult><Version><Key>workers.json</Key><VersionId>null</VersionId>\
         <IsLatest>true</IsLatest><ETag>\"old\"</ETag><LastModified>2026-11-01T00:00:00Z</LastModified></Version></ListVersionsResult>",
    );
    let text = document(Some(8), &[&key]);
    for (tag, status) in [("old", 0), ("new", 75)] {
        let stub = Stub::start([listed.clone(), object(tag, &text)]);
        let shown = run(&stub, &["show", OBJECT, "--at", "2026-11-20T00:00:00Z"]);
        assert_eq!(shown.status, status, "{shown:?}");
        assert_eq!(
            shown.stdout.contains(&key.fingerprint()),
            status == 0,
            "{shown:?}"
        );
        if status != 0 {
            assert!(
                shown
                    .stderr
                    .contains("it was replaced while it was read; run the command again"),
                "{shown:?}"
            );
        }
        let stub = Stub::start([listed.clone(), object(tag, &text)]);
        let history = run(&stub, &["history", OBJECT]);
        assert!(history.stdout.contains("2026-11-01"), "{history:?}");
        assert_eq!(
            history.stdout.contains("replaced while"),
            status != 0,
            "{history:?}"
        );
    }
}
