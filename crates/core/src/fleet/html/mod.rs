//! The fleet for a browser: one self-contained page that makes no requests.
//!
//! Tags are written by the nodes, and a hostile node may put anything into them. Every text is
//! escaped. As a second defence, the page's content security policy allows no requests, and only
//! the one script and the one style sheet whose hashes it contains.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use crate::fleet::table::grouped;
use crate::fleet::view::{Fleet, NodeRow, NodeState};
use crate::report::text::one_line;
use groups::{Common, Group, Groups};

mod data;
mod groups;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// This many nodes are named for one reason. The list below the reasons has all of them.
const NAMED: usize = 8;
/// This many reasons are shown one by one.
const SECTIONS: usize = 24;
/// From this many nodes on, the squares are drawn small.
const DENSE: usize = 1_000;

/// The page.
pub fn render(fleet: &Fleet) -> String {
    let mut page = String::new();
    head(&mut page, fleet);
    summary(&mut page, fleet);
    reasons(&mut page, fleet);
    let groups = Groups::of(fleet);
    picture(&mut page, fleet, &groups);
    list(&mut page);
    let data = data::json(fleet, &groups.of_rows);
    let _ = write!(
        page,
        "<script id=\"fleet\" type=\"application/json\">{data}</script>\n\
         <script>{SCRIPT}</script>\n</body>\n</html>\n"
    );
    page
}

fn head(page: &mut String, fleet: &Fleet) {
    let [style, script] = [STYLE, SCRIPT].map(|text| STANDARD.encode(Sha256::digest(text)));
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         base-uri 'none'; form-action 'none'; style-src 'sha256-{style}'; \
         script-src 'sha256-{script}'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <title>{}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n",
        escaped(&title(fleet))
    );
}

fn title(fleet: &Fleet) -> String {
    let all = fleet.rows.len();
    let done = fleet.done();
    match &fleet.view.wanted {
        Some(wanted) => format!(
            "{} of {} {} {wanted}",
            grouped(done),
            nodes(all),
            verb(done, "has", "have")
        ),
        None if done == all => format!("{}: all is well", nodes(all)),
        None => {
            let left = all - done;
            format!(
                "{} of {} {} attention",
                grouped(left),
                nodes(all),
                verb(left, "needs", "need")
            )
        }
    }
}

fn summary(page: &mut String, fleet: &Fleet) {
    let at = fleet.view.at;
    let utc = jiff::tz::TimeZone::UTC.to_datetime(at);
    let scope = match fleet.scope.shown() {
        scope if scope.is_empty() => scope,
        scope => format!(": {}", escaped(&scope)),
    };
    let _ = write!(
        page,
        "<header>\n<h1>{}</h1>\n<p class=\"soft\">as of <time datetime=\"{at}\">{} \
         {:02}:{:02}:{:02} UTC</time>{scope}</p>\n</header>\n\
         <div class=\"counts\">\n",
        escaped(&title(fleet)),
        utc.date(),
        utc.hour(),
        utc.minute(),
        utc.second()
    );
    for state in NodeState::ALL {
        let count = fleet.count(state);
        let word = state.word();
        let off = if count == 0 { " disabled" } else { "" };
        let _ = writeln!(
            page,
            "<button type=\"button\" class=\"{word}\" aria-pressed=\"false\"{off}><b>{}</b>\
             {word}</button>",
            grouped(count)
        );
    }
    page.push_str("</div>\n");
    for remark in fleet.remarks() {
        let _ = writeln!(page, "<p class=\"soft\">{}</p>", escaped(&remark));
    }
}

fn reasons(page: &mut String, fleet: &Fleet) {
    let reasons: Vec<_> = fleet.reasons(|row| row.state != NodeState::Ok);
    if reasons.is_empty() {
        return;
    }
    page.push_str("<section>\n<h2>What needs attention</h2>\n<ul class=\"reasons\">\n");
    for reason in reasons.iter().take(SECTIONS) {
        let word = reason.state.word();
        let _ = write!(
            page,
            "<li class=\"{word}\"><span class=\"badge\">{word}</span> <b>{}</b> {}<br><small>",
            nodes(reason.rows.len()),
            escaped(reason.why)
        );
        let named = reason.rows.len().min(NAMED);
        for (at, (number, row)) in (1..).zip(reason.rows.iter().take(named)) {
            // The comma stays with the name before it, so that it does not start a line.
            let comma = if at == named { "" } else { "," };
            let _ = write!(
                page,
                "<span><a href=\"#n{number}\">{}</a>{comma}</span> ",
                escaped(&called(row))
            );
        }
        if reason.rows.len() > named {
            let _ = write!(page, "and {} more", grouped(reason.rows.len() - named));
        }
        page.push_str("</small></li>\n");
    }
    page.push_str("</ul>\n");
    if reasons.len() > SECTIONS {
        let more: usize = reasons
            .iter()
            .skip(SECTIONS)
            .map(|reason| reason.rows.len())
            .sum();
        let _ = writeln!(
            page,
            "<p class=\"soft\">and {} for other reasons, in the list below</p>",
            nodes(more)
        );
    }
    page.push_str("</section>\n");
}

fn picture(page: &mut String, fleet: &Fleet, groups: &Groups<'_>) {
    let dense = if fleet.rows.len() >= DENSE {
        " class=\"dense\""
    } else {
        ""
    };
    let _ = write!(
        page,
        "<section{dense}>\n<h2>Who has which key set</h2>\n<ul class=\"legend\">\n"
    );
    for state in NodeState::ALL
        .into_iter()
        .filter(|state| fleet.count(*state) > 0)
    {
        let word = state.word();
        let _ = writeln!(
            page,
            "<li class=\"{word}\"><i>{}</i>{word}</li>",
            letter(state)
        );
    }
    page.push_str("</ul>\n");
    let each = fleet.rows.len().div_ceil(data::SQUARES);
    if each > 1 {
        let _ = writeln!(
            page,
            "<p class=\"soft\">one square is up to {each} nodes</p>"
        );
    }
    for (number, group) in groups.all.iter().enumerate() {
        if group.nodes > 0 {
            set(page, fleet, number, *group);
        }
    }
    page.push_str("</section>\n");
}

fn set(page: &mut String, fleet: &Fleet, number: usize, group: Group<'_>) {
    let mut digest = String::new();
    let mut word = "";
    let name = match group.common {
        Common::KeySet(held) => {
            if let Some(known) = held.digest {
                digest = format!(" <code class=\"soft\">{known}</code>");
            }
            if held.newest == Some(true) {
                word = "newest";
            }
            match &held.key_set {
                Some(key_set) => key_set.to_string(),
                None => "no key set in force".to_owned(),
            }
        }
        Common::Rare => "other key sets".to_owned(),
        Common::Unknown => "nothing is known".to_owned(),
    };
    let share = 100.0 * group.nodes as f64 / fleet.rows.len().max(1) as f64;
    let _ = write!(
        page,
        "<div class=\"set\">\n<h3><span>{}</span>{digest} <span>{}</span> \
         <span class=\"soft\">{word}</span></h3>\n\
         <svg class=\"share\" viewBox=\"0 0 100 1\" preserveAspectRatio=\"none\" role=\"img\" \
         aria-label=\"{share:.1} %\"><rect width=\"{share:.3}\" height=\"1\"/></svg>\n\
         <div class=\"nodes\" data-group=\"{number}\">",
        escaped(&name),
        nodes(group.nodes)
    );
    page.push_str("</div>\n</div>\n");
}

fn list(page: &mut String) {
    page.push_str(
        "<section>\n<h2>All nodes</h2>\n<noscript><p>This page draws its nodes with JavaScript, \
         which does not run here. <code>authkeysctl fleet --all</code> lists them in a \
         terminal.</p></noscript>\n\
         <div class=\"all\" hidden>\n\
         <div class=\"find\"><input type=\"search\" aria-label=\"filter\" \
         placeholder=\"filter by any words: a state, a name, a key set, a version, a reason\">\
         <output class=\"soft\"></output></div>\n\
         <table>\n<thead><tr><th>state</th><th>node</th><th>key set</th><th>last report</th>\
         <th>why</th></tr></thead>\n\
         </table>\n</div>\n</section>\n",
    );
}

/// A letter for each state, because colour alone is not accessible.
fn letter(state: NodeState) -> &'static str {
    match state {
        NodeState::Failed => "F",
        NodeState::Silent => "S",
        NodeState::Unreported => "U",
        NodeState::Degraded => "D",
        NodeState::Stale => "T",
        NodeState::Behind => "B",
        NodeState::Ok => "",
    }
}

fn called(row: &NodeRow) -> String {
    match row.node.name.as_str() {
        "" => row.node.id.clone(),
        name => format!("{name} ({})", row.node.id),
    }
}

fn nodes(number: usize) -> String {
    format!(
        "{} node{}",
        grouped(number),
        if number == 1 { "" } else { "s" }
    )
}

fn verb(number: usize, one: &'static str, several: &'static str) -> &'static str {
    if number == 1 { one } else { several }
}

/// A text escaped for use between tags or inside quoted attributes.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for sign in one_line(text).chars() {
        match sign {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            sign => safe.push(sign),
        }
    }
    safe
}
