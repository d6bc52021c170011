//! What documents and comments refer to exists: documents, headings, answers, commands.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use authkeys_testing::outcome_of;

use crate::repository::{ROOT, files, path, read};

/// A comment that sends its reader to a document must name one that is in the repository.
#[test]
fn no_comment_refers_to_a_document_that_is_not_here() {
    let gone = ["DESIGN", "FAILURES", "REVIEW", "STYLE"];
    let directories = [
        "tests", "docs", "benches", "examples", "fuzz", "systemd", "deb", "rpm", ".ci", ".github",
    ];
    let mut command = Command::new("git");
    command
        .current_dir(ROOT)
        .args(["grep", "--no-index", "--exclude-standard", "-nwE"])
        .arg(gone.join("|"))
        .arg("--")
        .args(directories);
    let output = command.arg(":!*documents/references.rs").output().unwrap();
    assert_eq!(
        (
            output.status.code(),
            &*String::from_utf8_lossy(&output.stdout)
        ),
        (Some(1), ""),
        "1: it searched and found nothing; {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let mut checked = 0;
    for file in files(Path::new(ROOT), "rs")
        .into_iter()
        .chain(files(Path::new(ROOT), "toml"))
    {
        let text = fs::read_to_string(&file).unwrap();
        for name in text
            .split("docs/")
            .skip(1)
            .filter_map(|rest| rest.split_once(".md").map(|(name, _)| name))
        {
            if name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte == b'-')
            {
                assert!(
                    path(&format!("docs/{name}.md")).exists(),
                    "{}: docs/{name}.md",
                    file.display()
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 20, "{checked}");
}

/// The documents that people read on their own.
fn documents_with_links() -> Vec<PathBuf> {
    let mut documents = files(&path("docs"), "md");
    for name in [
        "README.md",
        "CONTRIBUTING.md",
        "SECURITY.md",
        "CODE_OF_CONDUCT.md",
        "CHANGELOG.md",
    ] {
        documents.push(path(name));
    }
    documents
}

/// The name by which a heading is linked to.
fn anchor(heading: &str) -> String {
    let kept = heading.trim().to_lowercase();
    let kept = kept
        .chars()
        .filter(|sign| sign.is_alphanumeric() || matches!(sign, ' ' | '-' | '_'));
    kept.collect::<String>().replace(' ', "-")
}

#[test]
fn each_link_leads_to_a_file_and_a_heading() {
    let mut links = 0;
    for document in documents_with_links() {
        let text = fs::read_to_string(&document).unwrap();
        for target in text
            .split("](")
            .skip(1)
            .map(|rest| rest.split(')').next().unwrap())
        {
            let (name, part) = target.split_once('#').unwrap_or((target, ""));
            if name.contains("://") {
                continue;
            }
            let file = if name.is_empty() {
                document.clone()
            } else {
                document.parent().unwrap().join(name)
            };
            assert!(file.exists(), "{}: {target}", document.display());
            let headings = fs::read_to_string(&file).unwrap_or_default();
            let mut headings = headings
                .lines()
                .filter(|line| line.starts_with('#'))
                .map(|line| line.trim_start_matches('#'));
            assert!(
                part.is_empty() || headings.any(|heading| anchor(heading) == part),
                "{}: {target}",
                document.display()
            );
            links += 1;
        }
    }
    assert!(links > 100, "{links}");
}

#[test]
fn each_question_has_a_number_an_answer_and_a_link_to_more() {
    let text = read("docs/questions.md");
    let questions: Vec<&str> = text.split("\n**").skip(1).collect();
    assert!(questions.len() >= 35, "{}", questions.len());
    for (at, question) in questions.iter().enumerate() {
        let (asked, answer) = question
            .split_once("**\n")
            .unwrap_or_else(|| panic!("{question}"));
        assert!(asked.starts_with(&format!("{}. ", at + 1)), "{asked}");
        assert!(
            answer.contains("](") && answer.trim().len() > 40,
            "{asked}: {answer}"
        );
    }
    assert!(read("README.md").contains("(docs/questions.md)"));
}

/// The lines of the shell blocks that call our programs are ones that they take.
#[test]
fn each_command_of_the_guides_is_one_that_the_programs_take() {
    let mut commands = 0;
    for document in documents_with_links() {
        let text = fs::read_to_string(&document).unwrap();
        for line in authkeys_testing::blocks(&text, "sh")
            .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        {
            let line = line
                .split(" #")
                .next()
                .unwrap()
                .trim()
                .trim_start_matches("sudo ")
                .to_owned();
            let Some((program, rest)) = line.split_once(' ') else {
                continue;
            };
            let mut command = match program {
                "authkeysd" => authkeys_testing::clean_command(),
                "authkeysctl" => authkeys_testing::clean_ctl(),
                _ => continue,
            };
            let run = outcome_of(
                command
                    .args(rest.replace('\'', "").split_whitespace())
                    .arg("--help"),
            );
            assert_eq!(
                run.status,
                0,
                "{}: {line}: {}",
                document.display(),
                run.stderr
            );
            commands += 1;
        }
    }
    assert!(commands > 20, "{commands}");
}
