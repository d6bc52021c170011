//! Sequences of wake-ups on a fake clock: weeks in milliseconds.

use authkeys_core::schedule::{Act, Clock, Ended, NodePosition, Planner, Schedule, Splay, Timing};
use jiff::{SignedDuration, Timestamp};

const SETTLED: Ended = Ended::Settled { change: None };
const AWAY: Ended = Ended::Transient { change: None };
const WEEK: i64 = 7 * 24 * 3_600;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn timing(schedule: &str, node: u32) -> Timing {
    let node = NodePosition::new(&format!("i-{node:08x}"), "s3://keys/prod.json");
    Timing {
        schedule: Schedule::parse(schedule).unwrap(),
        splay: Splay::default(),
        node,
    }
}

/// Runs a node until `end`; each cycle ends as `world` says. Gives the times of the cycles.
fn run(
    planner: &mut Planner,
    mut now: Timestamp,
    end: Timestamp,
    mut world: impl FnMut(Act, Timestamp) -> Ended,
) -> Vec<(Act, Timestamp)> {
    let mut done = Vec::new();
    let mut random = 0.5;
    while now < end {
        let Some(act) = planner.due(now) else {
            assert!(planner.wake() > now, "it would spin at {now}");
            now = planner.wake();
            continue;
        };
        done.push((act, now));
        random = (random * 7.3 + 0.37) % 1.0;
        planner.ended(act, world(act, now), now, random);
    }
    done
}

#[test]
fn the_first_cycle_is_at_once_and_the_others_keep_the_nodes_own_phase_for_weeks() {
    for node in 0..20 {
        let start = at("2026-11-22T00:00:00.123Z");
        let timing = timing("60s", node);
        let mut planner = Planner::new(timing.clone(), start);
        let end = start + SignedDuration::from_secs(WEEK);
        let done = run(&mut planner, start, end, |_, _| SETTLED);
        assert_eq!(done[0], (Act::Fetch, start));
        let phase = done[1].1.as_millisecond().rem_euclid(60_000);
        assert!(
            done[1..]
                .iter()
                .all(|(_, at)| at.as_millisecond().rem_euclid(60_000) == phase)
        );
        assert!((10_080..=10_082).contains(&done.len()), "{}", done.len());
        // Another start comes to the same phase.
        let later = timing.next(start + SignedDuration::from_secs(123_456));
        assert_eq!(later.as_millisecond().rem_euclid(60_000), phase);
    }
}

#[test]
fn f08_a_fleets_cron_times_are_spread_over_a_tenth_of_the_period_and_stable_for_each_node() {
    let start = at("2026-11-22T00:00:00Z");
    let mut tenths = [0; 10];
    for node in 0..200 {
        let timing = timing("0 */5 * * * *", node);
        let first = timing.next(start - SignedDuration::from_millis(1));
        let offset = first.duration_since(start);
        assert!(offset < SignedDuration::from_secs(30), "{offset}");
        tenths[usize::try_from(offset.as_millis() / 3_000).unwrap()] += 1;
        // Between the occurrence and its splayed time the node still waits for the latter, and
        // comes to each once.
        let mut planner = Planner::new(timing, start);
        let end = start + SignedDuration::from_hours(4);
        let done = run(&mut planner, start, end, |_, _| SETTLED);
        let times: Vec<_> = done[1..]
            .iter()
            .map(|(_, at)| at.duration_since(first).as_millis())
            .collect();
        assert!(times.iter().all(|time| time % 300_000 == 0), "{times:?}");
        assert!((47..=48).contains(&times.len()), "{}", times.len());
    }
    assert!(
        tenths.iter().all(|nodes| (8..35).contains(nodes)),
        "{tenths:?}"
    );
}

#[test]
fn cron_is_utc_and_a_fixed_splay_never_reaches_the_next_occurrence() {
    let daily = Timing {
        splay: Splay::Fixed(SignedDuration::ZERO),
        ..timing("30 15 3 * * *", 1)
    };
    assert_eq!(
        daily.next(at("2026-11-22T03:15:30Z")),
        at("2026-11-23T03:15:30Z")
    );
    assert_eq!(
        daily.next(at("2024-02-28T10:00:00+09:00")),
        at("2024-02-28T03:15:30Z")
    );
    for node in 0..200 {
        let timing = Timing {
            splay: Splay::Fixed(SignedDuration::from_hours(9)),
            ..timing("0 * * * * *", node)
        };
        let start = at("2026-11-22T00:00:00Z");
        let done = run(
            &mut Planner::new(timing, start),
            start,
            start + SignedDuration::from_hours(1),
            |_, _| SETTLED,
        );
        assert!((60..=61).contains(&done.len()), "{}", done.len());
    }
}

#[test]
fn f12_f28_a_source_that_is_away_is_asked_a_few_times_more_and_then_by_the_schedule_alone() {
    let start = at("2026-11-22T00:00:00Z");
    for node in 0..50 {
        let day = start + SignedDuration::from_hours(24);
        let done = run(
            &mut Planner::new(timing("60s", node), start),
            start,
            day,
            |_, _| AWAY,
        );
        assert!(
            (1_440..1_450).contains(&done.len()),
            "{} requests in a day",
            done.len()
        );
        let gaps: Vec<_> = done
            .windows(2)
            .map(|two| two[1].1.duration_since(two[0].1))
            .collect();
        assert!(
            gaps.iter().all(|gap| *gap <= SignedDuration::from_secs(60)),
            "it never sleeps past its schedule"
        );

        // A schedule of hours beside an outage of minutes: back within minutes, also of cron.
        for schedule in ["6h", "0 0 */6 * * *"] {
            let back = start + SignedDuration::from_mins(20);
            let world = |_, now| if now < back { AWAY } else { SETTLED };
            let done = run(
                &mut Planner::new(timing(schedule, node), start),
                start,
                day,
                world,
            );
            let first_good = done.iter().find(|(_, at)| *at >= back).unwrap().1;
            assert!(
                first_good.duration_since(back) < SignedDuration::from_mins(40),
                "{schedule}: {first_good}"
            );
            assert!(done.len() < 40, "{schedule}: {} requests", done.len());
        }
    }
}

#[test]
fn a_denied_missing_or_bad_answer_waits_for_the_schedule() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("10m", 3), start);
    let done = run(
        &mut planner,
        start,
        start + SignedDuration::from_hours(24),
        |_, _| SETTLED,
    );
    assert!((144..=146).contains(&done.len()));
}

#[test]
fn f12_a_state_directory_that_cannot_be_used_is_tried_again_with_growing_pauses() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("1h", 3), start);
    let done = run(
        &mut planner,
        start,
        start + SignedDuration::from_hours(24),
        |_, _| Ended::NotBegun,
    );
    assert!((30..45).contains(&done.len()), "{}", done.len());
}

#[test]
fn a_window_wakes_every_node_in_its_own_millisecond_without_a_fetch() {
    let start = at("2026-11-22T00:00:00Z");
    let opens = at("2026-11-25T10:00:00Z");
    for node in 0..100 {
        let mut planner = Planner::new(timing("1h", node), start);
        let world = |_, now| Ended::Settled {
            change: (now < opens).then_some(opens),
        };
        let done = run(
            &mut planner,
            start,
            start + SignedDuration::from_secs(WEEK),
            world,
        );
        let replans: Vec<_> = done.iter().filter(|(act, _)| *act == Act::Replan).collect();
        assert_eq!(replans, [&(Act::Replan, opens)]);
        assert!(
            (168..=170).contains(&(done.len() - 1)),
            "no fetch was lost: {}",
            done.len()
        );
    }
}

#[test]
fn a_window_that_opens_while_a_cycle_runs_is_not_missed() {
    let start = at("2026-11-22T00:00:00Z");
    let change = start + SignedDuration::from_millis(500);
    let mut planner = Planner::new(timing("1h", 1), start);
    assert_eq!(planner.due(start), Some(Act::Fetch));
    let finished = start + SignedDuration::from_secs(2);
    planner.ended(
        Act::Fetch,
        Ended::Settled {
            change: Some(change),
        },
        finished,
        0.5,
    );
    assert_eq!(planner.due(finished), Some(Act::Replan));
    planner.ended(Act::Replan, Ended::NotBegun, finished, 0.5);
    assert_eq!(
        planner.due(finished),
        None,
        "what cannot be done is not tried without end"
    );
    assert!(planner.wake() < finished + SignedDuration::from_secs(3));
}

#[test]
fn a_window_goes_before_a_fetch_that_is_due_or_goes_on_and_is_kept_over_a_reload() {
    let start = at("2026-11-22T00:00:00Z");
    let change = Some(start + SignedDuration::from_secs(61));
    let mut planner = Planner::new(timing("60s", 1), start);
    planner.ended(Act::Fetch, Ended::Settled { change }, start, 0.5);
    let now = start + SignedDuration::from_secs(60);
    assert_eq!(
        (planner.due(now), planner.changes(now)),
        (Some(Act::Fetch), false)
    );
    planner.restart(timing("60s", 1), now);
    assert_eq!(
        (planner.due(now), planner.change()),
        (Some(Act::Fetch), change)
    );
    let now = start + SignedDuration::from_secs(61);
    assert_eq!(
        (planner.due(now), planner.changes(now)),
        (Some(Act::Replan), true)
    );
    planner.ended(Act::Replan, Ended::NotBegun, now, 0.5);
    let retry = planner.wake();
    assert!(
        retry > now && planner.change() == Some(retry),
        "the window is not forgotten"
    );
    assert_eq!(planner.due(retry), Some(Act::Replan));
    planner.ended(Act::Replan, Ended::Settled { change: None }, retry, 0.5);
    assert_eq!(
        planner.due(retry),
        Some(Act::Fetch),
        "the fetch is still due"
    );
}

#[test]
fn a_window_under_an_outage_keeps_the_retry() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("1h", 1), start);
    let change = Some(start + SignedDuration::from_millis(100));
    planner.ended(Act::Fetch, Ended::Transient { change }, start, 1.0);
    let now = planner.wake();
    assert_eq!((Some(now), planner.due(now)), (change, Some(Act::Replan)));
    planner.ended(Act::Replan, AWAY, now, 1.0);
    assert!(
        planner.wake() <= start + SignedDuration::from_secs(2),
        "{}",
        planner.wake()
    );
}

#[test]
fn f39_a_clock_that_is_set_back_or_forth_keeps_nobody_waiting_longer_than_the_schedule() {
    let start = at("2026-11-22T00:00:00Z");
    for schedule in ["60s", "0 * * * * *"] {
        let mut planner = Planner::new(timing(schedule, 7), start);
        planner.ended(Act::Fetch, SETTLED, start, 0.5);
        for wrong in [
            "1970-01-01T00:00:05Z",
            "2001-09-09T01:46:40Z",
            "2100-01-01T00:00:00Z",
        ] {
            let mut now = at(wrong);
            if planner.due(now).is_none() {
                let wait = planner.wake().duration_since(now);
                assert!(
                    wait <= SignedDuration::from_secs(66),
                    "{schedule} {wrong}: {wait}"
                );
                now = planner.wake();
                assert_eq!(planner.due(now), Some(Act::Fetch));
            }
            planner.ended(Act::Fetch, SETTLED, now, 0.5);
        }
    }
}

#[test]
fn f39_a_clock_before_the_build_or_the_last_record_stands_still_and_is_named() {
    let earliest = at("2026-11-22T00:00:00Z");
    let clock = |wall: &str| Clock {
        wall: at(wall),
        earliest,
    };
    let boot = clock("1970-01-01T00:00:05Z");
    assert_eq!(boot.effective(), earliest);
    assert!(boot.fault().unwrap().contains("1970-01-01T00:00:05Z"));
    let stepped = clock("2026-11-21T23:59:30Z");
    assert_eq!((stepped.effective(), stepped.fault()), (earliest, None));
    let right = clock("2026-11-22T00:00:01Z");
    assert_eq!((right.effective(), right.fault()), (right.wall, None));
}

/// Runs a node whose documents have a window every `gap` milliseconds. A replan and a fetch take as
/// long as told.
fn run_windows(
    schedule: &str,
    gap: i64,
    [replan, fetch]: [i64; 2],
    end: Timestamp,
) -> Vec<(Act, Timestamp)> {
    let start = at("2026-11-22T00:00:00.300Z");
    let mut planner = Planner::new(timing(schedule, 3), start);
    let (mut now, mut done) = (start, Vec::new());
    while now < end {
        let Some(act) = planner.due(now) else {
            assert!(planner.wake() > now, "it would spin at {now}");
            now = planner.wake();
            continue;
        };
        done.push((act, now));
        let next = (now.as_millisecond() / gap + 1) * gap;
        let change = Some(Timestamp::from_millisecond(next).unwrap());
        now += SignedDuration::from_millis(if act == Act::Fetch { fetch } else { replan });
        planner.ended(act, Ended::Settled { change }, now, 0.5);
    }
    done
}

#[test]
fn f43_windows_close_together_starve_no_fetch_and_are_one_replan_a_second() {
    let end = at("2026-11-22T00:03:00Z");
    for schedule in ["1s", "5s", "60s", "*/5 * * * * *", "0 * * * * *"] {
        for gap in [1, 10, 400, 1_000, 1_500] {
            for pace in [[0, 0], [3, 40], [700, 700], [2_500, 100], [9_000, 100]] {
                let done = run_windows(schedule, gap, pace, end);
                let case = format!("{schedule}, a window each {gap} ms, {pace:?}");
                let fetches: Vec<_> = done
                    .iter()
                    .filter(|(act, _)| *act == Act::Fetch)
                    .map(|(_, at)| *at)
                    .collect();
                let period = if schedule.contains("60") || schedule.starts_with('0') {
                    66
                } else {
                    6
                };
                let most = SignedDuration::from_secs(period)
                    + SignedDuration::from_millis(4 * pace[0] + 2 * pace[1]);
                for two in fetches.windows(2) {
                    assert!(
                        two[1].duration_since(two[0]) <= most,
                        "{case}: no fetch from {} to {}",
                        two[0],
                        two[1]
                    );
                }
                assert!(
                    end.duration_since(*fetches.last().unwrap()) <= most,
                    "{case}"
                );
                let replans: Vec<_> = done.iter().filter(|(act, _)| *act == Act::Replan).collect();
                assert!(
                    replans.len() <= 180,
                    "{case}: {} replans in 180 s",
                    replans.len()
                );
            }
        }
    }
}

#[test]
fn f43_no_window_is_early_and_none_is_later_than_a_second() {
    let end = at("2026-11-22T00:02:00Z");
    for gap in [10, 250, 1_000, 1_300, 60_000] {
        let done = run_windows("60s", gap, [2, 30], end);
        // Each cycle enforces all that has changed by its begin.
        let mut cycles = done.iter().map(|(_, at)| at.as_millisecond());
        let mut last = cycles.next().unwrap();
        for cycle in cycles {
            let first = (last / gap + 1) * gap;
            assert!(
                cycle < first + 1_000 + 32,
                "a window each {gap} ms: that of {first} was enforced at {cycle}"
            );
            last = cycle;
        }
        if gap >= 1_000 {
            let prompt = done.iter().filter(|(act, _)| *act == Act::Replan);
            let late = prompt.map(|(_, at)| at.as_millisecond() % gap).max();
            assert!(
                late.is_some_and(|late| late < 40),
                "alone in its second, a window is not late: {late:?}"
            );
        }
    }
}

#[test]
fn f43_a_reload_goes_before_windows_that_are_due() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("1h", 1), start);
    assert_eq!(planner.due(start), Some(Act::Fetch));
    let change = Some(start + SignedDuration::from_secs(5));
    planner.ended(Act::Fetch, Ended::Settled { change }, start, 0.5);
    let now = start + SignedDuration::from_secs(7);
    planner.restart(timing("1h", 1), now);
    assert_eq!(planner.due(now), Some(Act::Fetch));
    // A source that does not answer has a second before the window that waits is enforced.
    let second = SignedDuration::from_secs(1);
    assert_eq!(
        (planner.changes(now), planner.change()),
        (false, Some(now + second))
    );
    assert_eq!(planner.due(now + second), Some(Act::Replan));
}

#[test]
fn f43_a_clock_that_is_set_back_keeps_no_window_waiting() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("1h", 1), start);
    assert_eq!(planner.due(start), Some(Act::Fetch));
    let back = start - SignedDuration::from_hours(5);
    planner.ended(
        Act::Fetch,
        Ended::Settled { change: Some(back) },
        start,
        0.5,
    );
    assert_eq!(planner.due(back), Some(Act::Replan));
}

#[test]
fn f43_a_fetch_that_is_long_overdue_is_known() {
    let start = at("2026-11-22T00:00:00Z");
    let mut planner = Planner::new(timing("1h", 1), start);
    assert_eq!(planner.overdue(start + SignedDuration::from_secs(60)), None);
    assert_eq!(
        planner.overdue(start + SignedDuration::from_secs(61)),
        Some(start)
    );
    planner.ended(Act::Fetch, SETTLED, start, 0.5);
    assert_eq!(planner.overdue(start + SignedDuration::from_secs(61)), None);
}
