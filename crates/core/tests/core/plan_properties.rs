//! What holds for every file: nothing that is not ours is lost, and a second plan changes nothing.

use authkeys_core::key::identify;
use authkeys_core::plan::{Mode, Plan, managed_by, plan};
use authkeys_testing::numbered::{ed, line};
use proptest::prelude::*;

use super::plans::{after, block, headed, managed, prints, wanted};

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
