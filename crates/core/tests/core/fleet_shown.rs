//! The fleet on a terminal, for programs, and in a browser.

use authkeys_core::fleet::progress;
use authkeys_core::fleet::table::{self, Layout, ago, grouped};
use authkeys_core::fleet::{Fleet, html, json};
use authkeys_core::report::text::Colour;
use authkeys_testing::fleet::{NEW, judged, many, node, said, view};
use jiff::SignedDuration;
use unicode_width::UnicodeWidthStr as _;

const WIDE: Layout = Layout {
    colour: Colour::No,
    width: Some(120),
    all: false,
};

fn shown(fleet: &Fleet, layout: Layout) -> String {
    table::render(fleet, &layout)
}

/// Tags as only an enemy writes them.
fn hostile() -> Fleet {
    let bad = "</td><script>alert(1)</script><img src=x onerror=alert(2)>\" onmouseover='alert(3)'\u{1b}[2J\r\n\u{202e}&amp;";
    let tags = [
        ("status", "failed"),
        ("keyset", bad),
        ("synced", "2026-11-24T11:59:00Z"),
        ("detail", bad),
    ];
    judged(vec![
        node(bad, bad, &tags),
        node("i-2", bad, &[("status", bad)]),
    ])
}

#[test]
fn five_nodes_and_one_that_failed() {
    let mut nodes: Vec<_> = (1..5)
        .map(|n| said(&format!("i-{n}"), "ok", "workers/17", NEW, ""))
        .collect();
    nodes.push(said(
        "i-5",
        "failed",
        "workers/16",
        "0a1b2c3d4e5f6789",
        "bob: no space left on device; free some",
    ));
    let text = shown(&judged(nodes), WIDE);
    let expected = "\
5 nodes: 1 failed, 4 ok

key set     digest            nodes
workers/17  9f86d081884c7d65      4  ████████████████████████████████████████ newest
workers/16  0a1b2c3d4e5f6789      1  ██████████

failed  1 node  bob: no space left on device; free some
  node  key set     reported
  i-5   workers/16  60s ago
";
    assert_eq!(text, expected);
}

#[test]
fn five_thousand_nodes_are_told_on_one_screen_or_two() {
    let fleet = judged(many(5_000));
    let text = shown(&fleet, WIDE);
    assert!(
        text.starts_with(
            "5,000 nodes: 50 failed, 50 silent, 50 unreported, 100 stale, 250 behind, 4,500 ok\n"
        ),
        "{text}"
    );
    assert!(text.lines().count() < 80, "{text}");
    for words in [
        "failed  50 nodes  ubuntu: cannot write",
        "and 40 more (--all names them)",
        "web-7 ",
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
    let all = shown(&fleet, Layout { all: true, ..WIDE });
    assert_eq!(all.matches("i-0").count(), 5_000);
}

#[test]
fn no_line_is_wider_than_the_terminal_and_no_word_is_lost() {
    let fleet = judged(many(300));
    for width in [60, 80, 100, 200] {
        let text = shown(
            &fleet,
            Layout {
                width: Some(width),
                ..WIDE
            },
        );
        for line in text.lines() {
            assert!(line.width() <= width, "{width}: {line}");
        }
        let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(
            words.contains(
                "cannot write ~/.ssh/authorized_keys: no space left on device; free some"
            ),
            "{text}"
        );
    }
    let unbounded = shown(
        &fleet,
        Layout {
            width: None,
            ..WIDE
        },
    );
    assert!(unbounded.contains("S3 GetObject answered 403 AccessDenied; allow s3:GetObject\n"));
}

#[test]
fn colours_only_where_they_are_wanted() {
    let fleet = judged(many(100));
    assert!(!shown(&fleet, WIDE).contains('\u{1b}'));
    assert!(
        shown(
            &fleet,
            Layout {
                colour: Colour::Yes,
                ..WIDE
            }
        )
        .contains("\u{1b}[31mfailed\u{1b}[0m")
    );
}

#[test]
fn wide_names_keep_the_columns() {
    let tags = [
        ("status", "failed"),
        ("keyset", "w/1"),
        ("synced", "2026-11-24T11:59:00Z"),
        ("detail", "x"),
    ];
    let text = shown(
        &judged(vec![node("i-1", "東京", &tags), node("i-2", "web", &tags)]),
        WIDE,
    );
    assert!(
        text.contains("i-1   東京  w/1") && text.contains("i-2   web   w/1"),
        "{text}"
    );
}

#[test]
fn hostile_tags_write_nothing_but_their_own_text() {
    let fleet = hostile();
    let text = shown(&fleet, Layout { all: true, ..WIDE });
    assert!(!text.contains(['\u{1b}', '\r', '\u{202e}']), "{text:?}");
    assert!(!progress::line(&fleet, "w/1", SignedDuration::ZERO).contains('\n'));

    let page = html::render(&fleet);
    let own = page.matches("<script").count();
    assert_eq!(own, 2, "only our script and its data");
    for bad in [
        "<img",
        "</td><script",
        "\" onmouseover",
        "'alert",
        "\u{1b}",
        "\u{202e}",
    ] {
        assert!(!page.contains(bad), "{bad:?} in {page}");
    }
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;") && page.contains("&amp;amp;"));
    let back = serde_json::to_value(json::shape(&fleet)).unwrap();
    assert!(
        back["nodes"][0]["detail"]
            .as_str()
            .unwrap()
            .contains("</td><script>"),
        "JSON has it as it is"
    );
}

#[test]
fn five_thousand_nodes_with_a_reason_and_a_key_set_each_still_fit_a_screen_or_two() {
    let one = |n: u32| {
        said(
            &format!("i-{n}"),
            "failed",
            &format!("w{n}/1"),
            NEW,
            &format!("{n}: {}", "why ".repeat(50)),
        )
    };
    let fleet = judged((0..5_000).map(one).collect());
    let text = shown(
        &fleet,
        Layout {
            width: Some(80),
            ..WIDE
        },
    );
    assert!(text.lines().count() < 60, "{text}");
    assert!(
        text.contains("failed  and 4,995 more for 4,995 other reasons (--all names them)"),
        "{text}"
    );
    let page = html::render(&fleet);
    assert!(
        page.matches("class=\"set\"").count() <= 25
            && page.matches("<li class=\"failed\">").count() <= 25
    );
}

#[test]
fn the_json_is_as_it_is_documented() {
    let fleet = judged(many(100));
    let back = serde_json::to_value(json::shape(&fleet)).unwrap();
    assert_eq!(
        (
            back["schema"].as_u64(),
            back["nodes_total"].as_u64(),
            back["nodes_done"].as_u64()
        ),
        (Some(1), Some(100), Some(90))
    );
    assert_eq!(back["states"]["behind"], 5);
    assert_eq!(back["key_sets"][0]["key_set"], "workers/17");
    let first = &back["nodes"][0];
    assert_eq!(
        (&first["instance_id"], &first["state"]),
        (&"i-00000000000000007".into(), &"failed".into())
    );
    assert_eq!(
        (&first["key_set_name"], &first["serial"]),
        (&"workers".into(), &16.into())
    );
    let never = back["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .find(|node| node["state"] == "unreported")
        .unwrap();
    assert!(never["status"].is_null() && never["synced"].is_null());

    let documented = include_str!("../../../../docs/output.md")
        .split("## `authkeysctl fleet --json`")
        .nth(1)
        .unwrap();
    for object in [&back, &back["key_sets"][0], first] {
        for field in object.as_object().unwrap().keys() {
            let told = [
                format!("`{field}`"),
                format!("`{field}[]`"),
                format!(".{field}`"),
            ];
            assert!(
                told.iter().any(|told| documented.contains(told)),
                "{field} is not in docs/output.md"
            );
        }
    }
}

#[test]
fn the_page_asks_for_nothing_beyond_itself_and_has_every_node() {
    let page = html::render(&judged(many(200)));
    for outside in [
        "http:", "https:", "src=", "url(", "@import", "<link", "style=",
    ] {
        assert!(!page.contains(outside), "{outside}");
    }
    assert!(page.contains("default-src 'none'"));
    let data = page_data(&page);
    let ids = data["id"].as_str().unwrap();
    assert_eq!(ids.lines().count(), 200);
    assert_eq!(data["age"].as_array().unwrap().len(), 200);
    assert!(
        page.contains("<noscript>"),
        "it says what is missing without a script"
    );
    assert!(page.contains("<title>20 of 200 nodes need attention</title>"));
    assert!(
        page.contains(">web-7 (i-00000000000000007)</a>,</span> <span><a"),
        "no line begins with a comma"
    );
    let wanted = html::render(&view(Some("workers/17")).judge(many(100)));
    assert!(wanted.contains("<title>90 of 100 nodes have workers/17</title>"));
}

/// What the page's script reads.
fn page_data(page: &str) -> serde_json::Value {
    let (_, from) = page.split_once("type=\"application/json\">").unwrap();
    let (data, _) = from.split_once("</script>").unwrap();
    serde_json::from_str(data).unwrap()
}

#[test]
fn a_page_of_fifty_thousand_nodes_has_less_than_four_megabytes() {
    // Names as EC2 gives them, which share nothing at their ends.
    let size = |count: u32| {
        let mut nodes = many(count as usize);
        for (number, node) in (0..count).zip(&mut nodes) {
            let [_, a, b, c] = u32::to_be_bytes(number);
            node.name = format!("ip-10-{a}-{b}-{c}.eu-central-1.compute.internal");
        }
        html::render(&judged(nodes)).len()
    };
    let (small, large) = (size(5_000), size(50_000));
    assert!(large < 4_000_000, "{large}");
    assert!(large < 11 * small, "{small} {large}");
}

#[test]
fn the_bar_fills_and_is_full_only_at_the_end() {
    let bar = |done: usize, width: usize| {
        let nodes = (0..50).map(|n| {
            let digest = if n < done { NEW } else { "0a1b2c3d4e5f6789" };
            said(&format!("i-{n}"), "ok", "w/1", digest, "")
        });
        let fleet = view(Some(NEW)).judge(nodes.collect());
        progress::bar(
            &fleet,
            "w/1",
            SignedDuration::from_secs(12),
            "",
            width,
            Colour::No,
        )
    };
    assert_eq!(
        bar(0, 60),
        format!("[{}] 0 of 50 w/1 12s  50 behind", "░".repeat(12))
    );
    assert_eq!(
        bar(49, 100),
        format!("[{}░] 49 of 50 w/1 12s  1 behind", "█".repeat(39))
    );
    assert_eq!(
        bar(50, 100),
        format!("[{}] 50 of 50 w/1 12s", "█".repeat(40))
    );
    for width in 1..120 {
        assert!(
            bar(25, width).width() < width.max(2),
            "{width}: {}",
            bar(25, width)
        );
        let cells = |done| bar(done, width).matches(['█', '░']).count();
        assert!(
            (1..=50).all(|done| cells(done) == cells(0) || width < 50),
            "{width}: it only fills"
        );
        let fleet = view(Some(NEW)).judge(vec![said("i-1", "ok", "w/1", NEW, "")]);
        let trouble = "編編 編編\u{1b}[2J\r\n".repeat(9);
        let line = progress::bar(
            &fleet,
            "w/1",
            SignedDuration::from_secs(12),
            &trouble,
            width,
            Colour::No,
        );
        assert!(
            line.width() < width.max(2) && !line.contains(char::is_control),
            "{width}: {line}"
        );
    }
}

#[test]
fn numbers_and_ages_are_as_people_say_them() {
    assert_eq!(
        [0, 999, 1_000, 12_345_678].map(grouped),
        ["0", "999", "1,000", "12,345,678"]
    );
    let of = |seconds| ago(SignedDuration::from_secs(seconds));
    assert_eq!(
        [-5, 0, 119, 120, 7_200, 172_800].map(of),
        [
            "in the future",
            "0s ago",
            "119s ago",
            "2m ago",
            "2h ago",
            "2d ago"
        ]
    );
}
