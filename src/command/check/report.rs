//! Checks the reports: whether tags may be written, and whether there is a directory for the
//! metrics.

use super::{Finding, Level};
use crate::fetch::Remote;
use authkeys_core::config::Report;
use authkeys_core::origin::Class;
use authkeys_core::origin::instance::NoInstance;

/// Checks what needs no network.
pub(super) fn examine(report: &Report) -> Vec<Finding> {
    let mut findings = Vec::new();
    for warning in report.tag_names.warnings() {
        findings.push(Finding::new(Level::Warning, "report", "tags", warning));
    }
    findings.extend(metrics(report));
    findings
}

fn metrics(report: &Report) -> Option<Finding> {
    let path = report.prometheus.as_ref()?;
    let subject = path.display().to_string();
    Some(match path.parent().is_some_and(std::path::Path::is_dir) {
        true => Finding::new(Level::Ok, "report", &subject, "its directory is there"),
        false => Finding::new(
            Level::Failed,
            "report",
            &subject,
            "its directory is missing: make it, and name it to node_exporter with \
             --collector.textfile.directory",
        ),
    })
}

/// Asks EC2 whether the tags may be written. No tag is written.
pub(super) async fn examine_online(report: &Report, remote: &Remote) -> Option<Finding> {
    if !report.ec2_tags {
        return None;
    }
    if let Err(why) = remote.instance(false).await {
        let class = if matches!(why, NoInstance::Unreachable { .. }) {
            Class::Transient
        } else {
            Class::Invalid
        };
        return Some(Finding {
            exit: class.into(),
            ..tags_finding(Level::Failed, format!("cannot tag this instance: {why}"))
        });
    }
    let keys = report.tag_names.all();
    Some(match remote.may_tag(keys.clone()).await {
        Ok(answer) if answer.allowed => {
            tags_finding(Level::Ok, format!("{} may be tagged", answer.instance))
        }
        Ok(answer) => {
            let message = format!(
                "the role may not tag {}: allow ec2:CreateTags on {} for the keys {} \
                 (examples/iam/node.json)",
                answer.instance,
                answer.arn,
                keys.join(", ")
            );
            Finding {
                exit: Class::Denied.into(),
                ..tags_finding(Level::Failed, message)
            }
        }
        Err(error) => Finding {
            exit: error.class.into(),
            ..tags_finding(Level::Failed, error.to_string())
        },
    })
}

fn tags_finding(level: Level, message: String) -> Finding {
    Finding::new(level, "report", "ec2_tags", message)
}
