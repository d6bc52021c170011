//! What a released version left on a node is read and goes on: written down here as 0.1.0 wrote it,
//! when it was one process.

use std::os::unix::fs::PermissionsExt as _;

use authkeys_testing::{Setup, me};

const STATE: &str = include_str!("released/state-0.1.0.json");
const DOCUMENT: &str = include_str!("released/workers-7.json");
/// Where 0.1.0 keeps that document: under the SHA-256 of its bytes.
const STORED_AS: &str = "66e73c1037a77e1ad3d477e01c470b432a6997930a0675e5d3e4845140cff2be";
const SOMEBODY_ELSES: &str = "ssh-ed25519 \
                              AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl \
                              somebody else's";
const STOLEN: &str = "SHA256:GSqwsBV55yHmKpaG4uO51km2arrT/vBCH7WsiT87F54";

/// A node that 0.1.0 has served, with the two keys of its document in force, one more of somebody
/// else's, and this source now.
fn node(published: Option<&str>) -> Setup {
    let setup = Setup::with_file();
    let documents = setup.state_dir().join("documents");
    std::fs::create_dir_all(&documents).unwrap();
    for directory in [&setup.state_dir(), &documents] {
        std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700)).unwrap();
    }
    let source = setup.path("published").display().to_string();
    let state = STATE.replace("@SOURCE@", &source).replace("@USER@", &me());
    std::fs::write(setup.state_dir().join("state.json"), state).unwrap();
    std::fs::write(documents.join(STORED_AS), DOCUMENT).unwrap();
    let lines = keys().join("\n");
    std::fs::create_dir(setup.path("keys")).unwrap();
    let file = format!("{SOMEBODY_ELSES}\n# BEGIN authkeysd\n{lines}\n# END authkeysd\n");
    std::fs::write(setup.file(), file).unwrap();
    if let Some(published) = published {
        setup.publish(published);
    }
    setup
}

/// The key lines of its document.
fn keys() -> Vec<String> {
    let document: serde_json::Value = serde_json::from_str(DOCUMENT).unwrap();
    let keys = document["keys"].as_array().unwrap().iter();
    keys.map(|key| key["public_key"].as_str().unwrap().to_owned())
        .collect()
}

fn file_of(setup: &Setup) -> String {
    std::fs::read_to_string(setup.file()).unwrap()
}

#[test]
fn the_state_of_0_1_0_keeps_the_keys_while_the_source_is_away() {
    let setup = node(None);
    let before = file_of(&setup);
    let run = setup.run(["sync"]);
    run.fails(1, &[&["published: No such file", "the keys in force stay"]]);
    assert_eq!(file_of(&setup), before);
}

#[test]
fn the_state_of_0_1_0_remembers_serials_and_which_keys_were_ours() {
    let older = DOCUMENT.replace("\"serial\":7", "\"serial\":6");
    let setup = node(Some(&older));
    let before = file_of(&setup);
    let run = setup.run(["sync"]);
    run.fails(1, &[&["serial 6"]]);
    assert_eq!(file_of(&setup), before);

    // The stolen key stands outside of the block as well: its revocation takes both lines, and
    // nothing else.
    let [stolen, kept] = <[String; 2]>::try_from(keys()).unwrap();
    std::fs::write(setup.file(), format!("{stolen}\n{before}")).unwrap();
    setup.publish(format!(
        "{{\"version\":1,\"name\":\"workers\",\"serial\":8,\"keys\":[{{\"public_key\":\"{kept}\"}}]}}"
    ));
    let run = setup.run(["sync"]);
    run.succeeds();
    assert!(run.stdout.contains(&format!("- {STOLEN}")), "{run:?}");
    let after = file_of(&setup);
    assert!(
        !after.contains(&stolen) && after.contains(&kept) && after.contains(SOMEBODY_ELSES),
        "{after}"
    );
}

#[test]
fn nothing_is_written_because_of_the_new_version_alone() {
    let setup = node(Some(DOCUMENT));
    let before = (
        file_of(&setup),
        setup.file().metadata().unwrap().modified().unwrap(),
    );
    let run = setup.run(["sync"]);
    run.succeeds();
    assert_eq!(
        (
            file_of(&setup),
            setup.file().metadata().unwrap().modified().unwrap()
        ),
        before,
        "{run:?}"
    );
}
