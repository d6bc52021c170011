//! Trust: audience and serial.

use authkeys_core::document::{self, Document, Name, Rules};
use authkeys_core::verify::{Distrust, Mark, Trust, verify};
use authkeys_testing::numbered::{ed, rules};

fn document(fields: &str) -> Document {
    let text = format!(
        "{{\"version\":1,{fields}\"keys\":[{{\"public_key\":\"{}\"}}]}}",
        ed(1)
    );
    document::parse(
        text.as_bytes(),
        &Rules {
            line: rules(),
            allow_private_key: false,
        },
    )
    .unwrap()
}

#[test]
fn f38_an_older_document_is_refused_and_so_is_the_same_serial_with_other_content() {
    let trust = Trust::default();
    let mark = verify(&document("\"serial\":17,"), &trust, None).unwrap();
    let judge = |fields: &str| verify(&document(fields), &trust, mark.as_ref());
    assert_eq!(judge("\"serial\":17,"), Ok(mark));
    assert!(judge("\"serial\":18,").is_ok());
    assert!(matches!(
        judge("\"serial\":16,"),
        Err(Distrust::Rollback { .. })
    ));
    assert!(matches!(
        judge("\"serial\":17,\"name\":\"x\","),
        Err(Distrust::SameSerial(_))
    ));
    assert!(matches!(judge(""), Err(Distrust::NoSerial(_))));
    assert_eq!(verify(&document(""), &trust, None), Ok(None));
}

#[test]
fn an_audience_that_either_side_names_both_must_name() {
    let ours = |name: &str| Trust {
        audience: Some(Name::parse(name).unwrap()),
    };
    let judge =
        |fields: &str, trust: &Trust| verify(&document(fields), trust, None::<&Mark>).is_ok();
    assert!(judge("\"audience\":\"prod\",", &ours("prod")));
    assert!(!judge("\"audience\":\"staging\",", &ours("prod")));
    assert!(!judge("", &ours("prod")));
    assert!(!judge("\"audience\":\"prod\",", &Trust::default()));
}
