//! The fleet's page in a real browser: what it shows, light and dark, on a phone, and that it harms
//! and asks nobody.

use std::path::{Path, PathBuf};

use authkeys_core::fleet::{Node, html};
use authkeys_testing::fleet::{judged, many, node};

use crate::browser::{self, Browser};

const PHONE: (u32, u32) = (390, 844);
const DESK: (u32, u32) = (1280, 900);

/// The least contrast of a text with what is behind it, in the whole page.
const CONTRAST: &str = "(() => {
  const light = (colour) => {
    const [r, g, b] = colour.match(/[0-9.]+/g).map(Number).map((c) => (c /= 255) <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4);
    return .2126 * r + .7152 * g + .0722 * b;
  };
  const behind = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if (colour !== 'rgba(0, 0, 0, 0)') return colour;
    }
    return 'rgb(255, 255, 255)';
  };
  let least = 21, where = '';
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!own || element.closest('script, :disabled, [hidden]')) continue;
    const [a, b] = [light(getComputedStyle(element).color), light(behind(element))];
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < least) [least, where] = [ratio, element.outerHTML.slice(0, 80)];
  }
  return [least, where];
})()";

/// How many rows are drawn.
const ROWS: &str = "document.querySelectorAll('tbody tr:not(.blank)').length";
/// How many squares are drawn.
const SQUARES: &str = "document.querySelectorAll('.nodes a').length";
/// When the browser has drawn twice, what came into the window is there.
const DRAWN: &str = "new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => \
                     setTimeout(done, 50))))";
/// The window's part of the list: how many rows are drawn, whether something is missing in the
/// window, the rows at its edges by their numbers, and the number of all.
const WINDOW: &str = "(() => {
  const inside = (line) => {
    const at = line.getBoundingClientRect();
    return at.bottom > 0 && at.top < innerHeight;
  };
  const lines = [...document.querySelectorAll('tbody tr')].filter(inside);
  const number = (line) => Number((line && line.getAttribute('aria-rowindex')) || 1) - 1;
  return {
    drawn: document.querySelectorAll('tbody tr:not(.blank)').length,
    missing: lines.filter((line) => line.matches('.blank')).length,
    first: number(lines[0]),
    last: number(lines.at(-1)),
    all: Number(document.querySelector('table').getAttribute('aria-rowcount')) - 1,
  };
})()";

/// What [`WINDOW`] tells.
#[derive(Debug, serde::Deserialize)]
struct Rows {
    drawn: usize,
    missing: usize,
    first: usize,
    last: usize,
    all: usize,
}

/// What the window shows: without gaps, and with few rows drawn beside it.
#[track_caller]
fn few_rows(browser: &mut Browser) -> Rows {
    browser.wait(DRAWN);
    let rows: Rows = serde_json::from_value(browser.value(WINDOW)).unwrap();
    assert_eq!(rows.missing, 0, "{rows:?}");
    assert!(rows.drawn <= 500, "{rows:?}");
    rows
}

fn typed(text: &str) -> String {
    format!(
        "{{ const input = document.querySelector('input'); input.value = '{text}'; \
         input.dispatchEvent(new Event('input')); }}"
    )
}

fn pages() -> PathBuf {
    let place = authkeys_testing::scratch().join("fleet-page");
    std::fs::create_dir_all(&place).unwrap();
    place
}

fn page(name: &str, nodes: Vec<Node>) -> PathBuf {
    let file = pages().join(format!("{name}.html"));
    std::fs::write(&file, html::render(&judged(nodes))).unwrap();
    file
}

fn open(browser: &mut Browser, file: &Path, (width, height): (u32, u32), scheme: &str) {
    browser.screen(width, height, scheme);
    browser.open(file);
    let overflow = browser.value("document.documentElement.scrollWidth - innerWidth");
    assert!(
        overflow.as_i64().unwrap() <= 0,
        "{} is {overflow} px too wide for {width}",
        file.display()
    );
}

#[track_caller]
fn is_quiet(browser: &Browser) {
    assert_eq!(browser.complaints(), Vec::<&serde_json::Value>::new());
    assert_eq!(browser.requests(), Vec::<String>::new());
}

#[test]
fn the_page_is_read_light_and_dark_on_a_desk_and_on_a_phone() {
    let Some(program) = browser::installed() else {
        return;
    };
    let mut browser = Browser::start(&program);
    let file = page("fifty", many(50));
    let mut papers = Vec::new();
    for (name, screen, scheme) in [
        ("light", DESK, "light"),
        ("dark", DESK, "dark"),
        ("phone", PHONE, "dark"),
    ] {
        open(&mut browser, &file, screen, scheme);
        assert_eq!(
            browser.value("document.querySelector('h1').innerText"),
            "10 of 50 nodes need attention"
        );
        assert_eq!(browser.value(ROWS), 50);
        let first = browser.value("document.querySelector('tbody tr').innerText");
        for words in [
            "failed",
            "web-7",
            "i-00000000000000007",
            "workers/16",
            "no space left on device",
        ] {
            assert!(first.as_str().unwrap().contains(words), "{words}: {first}");
        }
        let contrast = browser.value(CONTRAST);
        assert!(contrast[0].as_f64().unwrap() >= 4.5, "{name}: {contrast}");
        papers.push(browser.value("getComputedStyle(document.body).backgroundColor"));
        browser.picture(&pages().join(format!("{name}.png")));
        is_quiet(&browser);
    }
    assert_ne!(papers[0], papers[1], "dark is another page than light");
}

#[test]
fn words_and_states_find_nodes_and_a_square_leads_to_its_row() {
    let Some(program) = browser::installed() else {
        return;
    };
    let mut browser = Browser::start(&program);
    open(&mut browser, &page("found", many(200)), DESK, "light");
    let shown = "Number(document.querySelector('table').getAttribute('aria-rowcount')) - 1";
    assert_eq!(browser.value(shown), 200);
    assert_eq!(
        browser.value("document.querySelectorAll('.nodes a[title^=web-]').length"),
        200,
        "each has its square"
    );
    browser.value(&typed("s3 AccessDenied"));
    assert_eq!(
        (
            browser.value(shown),
            browser.value("document.querySelector('output').innerText")
        ),
        (4.into(), "4 of 200 shown".into())
    );
    assert_eq!(browser.value(ROWS), 4);
    browser.value("document.querySelector('button.behind').click()");
    assert_eq!(browser.value(shown), 0);
    browser.value(&typed(""));
    assert_eq!(browser.value(shown), 10);
    browser.value("document.querySelector('.nodes a.failed').click()");
    assert_eq!(
        browser.value("document.querySelector('tr.here').innerText.includes('web-7')"),
        true
    );
    assert_eq!(browser.value(shown), 11);
    is_quiet(&browser);
}

#[test]
fn hostile_tags_run_nothing_and_ask_nothing() {
    let Some(program) = browser::installed() else {
        return;
    };
    let mut browser = Browser::start(&program);
    let bad = "</td></script><script>alert(1)</script><img src=https://evil.example/x onerror=alert(2)>\" onclick='alert(3)";
    let time = ("synced", "2026-11-24T11:59:00Z");
    let long = "x".repeat(200);
    let nodes = vec![
        node(
            bad,
            bad,
            &[("status", "failed"), ("keyset", bad), time, ("detail", bad)],
        ),
        node(
            "i-2",
            &long,
            &[
                ("status", "stale"),
                ("keyset", &long),
                time,
                ("detail", &long),
            ],
        ),
        node("i-3", bad, &[("status", bad), time]),
    ];
    let file = page("hostile", nodes);
    open(&mut browser, &file, PHONE, "light");
    let count = |of: &str| format!("document.querySelectorAll('{of}').length");
    assert_eq!(browser.value(&count("script")), 2);
    assert_eq!(
        browser.value(&count("img, iframe, object, [onclick], [onerror]")),
        0
    );
    let shown = browser.value("document.querySelector('tbody tr').innerText");
    assert!(
        shown
            .as_str()
            .unwrap()
            .contains("<script>alert(1)</script>"),
        "{shown}"
    );
    is_quiet(&browser);

    // Should the escaping ever fail, the page's own policy stands: the very same text as markup
    // does nothing either.
    let hole = std::fs::read_to_string(&file)
        .unwrap()
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("\\u003c", "<")
        .replace("\\u003e", ">");
    let holed = pages().join("holed.html");
    std::fs::write(&holed, hole).unwrap();
    browser.open(&holed);
    let ran = browser
        .complaints()
        .iter()
        .any(|event| event["method"] == "Page.javascriptDialogOpening");
    assert!(!ran, "{:?}", browser.complaints());
    assert!(
        !browser.complaints().is_empty(),
        "and says that it was refused"
    );
}

#[test]
fn ten_thousand_nodes_have_a_square_each() {
    let Some(program) = browser::installed() else {
        return;
    };
    let mut browser = Browser::start(&program);
    let file = page("many", many(10_000));
    open(&mut browser, &file, PHONE, "dark");
    assert_eq!(browser.value(SQUARES), 10_000);
    is_quiet(&browser);
}

#[test]
fn fifty_thousand_nodes_are_scrolled_and_filtered_and_few_rows_are_drawn() {
    let Some(program) = browser::installed() else {
        return;
    };
    let mut browser = Browser::start(&program);
    let file = page("fifty-thousand", many(50_000));
    let bytes = std::fs::metadata(&file).unwrap().len();
    assert!(bytes < 4_000_000, "{bytes} bytes");
    open(&mut browser, &file, DESK, "light");
    assert!(browser.value(SQUARES).as_u64().unwrap() <= 10_100);
    let begun = few_rows(&mut browser);
    assert!(begun.first <= 1, "{begun:?}");

    // Through the whole list: what is in the window is always drawn, and the rest is not.
    for part in 1..=10 {
        browser.value(&format!(
            "{{ const list = document.querySelector('table').getBoundingClientRect(); scrollTo(0, \
             scrollY + list.top + list.height * {part} / 10 - innerHeight); }}"
        ));
        let rows = few_rows(&mut browser);
        let expected = 5_000 * part;
        assert!(
            rows.last.abs_diff(expected) < 500,
            "after {part} tenths: {rows:?}"
        );
    }
    browser.value("scrollTo(0, document.body.scrollHeight)");
    few_rows(&mut browser);
    browser.value("scrollTo(0, document.body.scrollHeight)");
    let end = few_rows(&mut browser);
    assert_eq!(end.last, 50_000, "{end:?}");

    // One name of all, and a state.
    browser.value(&typed("web-49942"));
    assert_eq!(browser.value(ROWS), 1);
    assert_eq!(
        browser.value("document.querySelector('output').innerText"),
        "1 of 50000 shown"
    );
    browser.value(&typed(""));
    browser.value("document.querySelector('button.silent').click()");
    let silent = few_rows(&mut browser);
    assert_eq!(silent.all, 500);
    assert_eq!(
        browser.value("document.querySelectorAll('tbody tr:not(.silent, .blank)').length"),
        0
    );

    // A square leads to a row far below, which the filter leaves out.
    browser.value("[...document.querySelectorAll('.nodes a.ok')].at(-1).click()");
    few_rows(&mut browser);
    let here = "(() => { const at = document.querySelector('tr.here').getBoundingClientRect(); \
                return at.top >= 0 && at.bottom <= innerHeight; })()";
    assert_eq!(browser.value(here), true);
    is_quiet(&browser);
}
