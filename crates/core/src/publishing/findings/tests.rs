use super::*;

#[test]
fn times_are_told_as_people_say_them() {
    let now: Timestamp = "2026-11-24T00:00:00Z".parse().unwrap();
    for (at, expected) in [
        ("2026-11-24T00:00:01Z", "in 1 second"),
        ("2026-11-24T00:01:59Z", "in 119 seconds"),
        ("2026-11-24T00:59:00Z", "in 59 minutes"),
        ("2026-11-25T12:00:00Z", "in 36 hours"),
        ("2026-12-21T00:00:00Z", "in 27 days"),
        ("2026-11-21T00:00:00Z", "3 days ago"),
    ] {
        assert_eq!(when(at.parse().unwrap(), now), format!("{at} ({expected})"));
    }
}
