use super::*;

/// As version 0.1.0 wrote it, before there were codes.
const OLD: &str = r#"{"schema":1,"version":"0.1.0","status":"stale","detail":"s3://b/k: gone","instance_id":null,
    "started":"2026-11-21T10:00:00Z","finished":"2026-11-21T10:00:00Z","last_success":null,"next_cycle":null,
    "next_change":null,"sources":[{"source":"s3://b/k","status":"stale","detail":"s3://b/k: gone","problem":"missing",
    "name":"set","serial":17,"digest":null,"version":"v1","fetched":null,"signer":null}],"accounts":[]}"#;

#[test]
fn an_outcome_without_codes_is_read_and_its_document_with_it() {
    let outcome: Outcome = serde_json::from_str(OLD).unwrap();
    let source = &outcome.sources[0];
    assert_eq!(
        (outcome.code, source.code, source.problem),
        (None, None, Some(Problem::Missing))
    );
    assert_eq!(source.document.key_set(None).as_deref(), Some("set/17"));
}

#[test]
fn a_code_is_written_beside_the_detail_and_one_of_a_later_version_is_passed_over() {
    let coded = |code: &str| {
        OLD.replacen(
            "\"detail\":",
            &format!("\"code\":\"{code}\",\"detail\":"),
            1,
        )
    };
    let outcome: Outcome = serde_json::from_str(&coded("AK011")).unwrap();
    assert_eq!(outcome.code, Some(FaultCode::SourceMissing));
    assert!(
        serde_json::to_string(&outcome)
            .unwrap()
            .contains(r#""code":"AK011""#)
    );
    assert_eq!(
        serde_json::from_str::<Outcome>(&coded("AK998"))
            .unwrap()
            .code,
        None
    );
}

#[test]
fn the_documents_fields_stand_beside_the_others() {
    let account = AccountOutcome::new(None);
    let json: serde_json::Value = serde_json::to_value(&account).unwrap();
    assert!(
        ["name", "serial", "digest"]
            .iter()
            .all(|field| json[field].is_null() && json.get(field).is_some())
    );
    assert!(json.get("document").is_none() && json.get("code").is_none());
}
