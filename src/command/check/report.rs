//! The reports: may the tags be written, and is there a place for the metrics?

use std::sync::Arc;

use super::{Finding, Level};
use authkeys_aws::client::Aws;
use authkeys_aws::client::instance::NoInstance;
use authkeys_aws::client::region::Partition;
use authkeys_aws::ec2::{Ec2, Permitted};
use authkeys_core::config::Report;
use authkeys_core::origin::Class;

/// Looks at what needs no network.
pub(super) fn examine(report: &Report) -> Vec<Finding> {
    let names = report.tag_names.warnings().into_iter();
    let names = names.map(|warning| Finding::new(Level::Warning, "report", "tags", warning));
    names.chain(metrics(report)).collect()
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
            "its directory is missing: make it, and name it to node_exporter with --collector.textfile.directory",
        ),
    })
}

/// Asks EC2 whether the tags may be written; none is.
pub(super) async fn examine_online(report: &Report, aws: &Arc<Aws>) -> Option<Finding> {
    if !report.ec2_tags {
        return None;
    }
    let finding = |level, message: String| Finding::new(level, "report", "ec2_tags", message);
    let instance = match aws.metadata.instance().await {
        Ok(instance) => instance,
        Err(why) => {
            let class = if matches!(why, NoInstance::Unreachable { .. }) { Class::Transient } else { Class::Invalid };
            return Some(Finding {
                exit: class.into(),
                ..finding(Level::Failed, format!("cannot tag this instance: {why}"))
            });
        }
    };
    let keys = report.tag_names.all();
    let tags = keys.iter().map(|key| (key.clone(), String::new())).collect();
    let ec2 = Ec2::over(Arc::clone(aws), Some(&instance.region));
    let id = instance.id.as_str();
    Some(match ec2.may_create_tags(id, &tags).await {
        Ok(Permitted::Yes) => finding(Level::Ok, format!("{id} may be tagged")),
        Ok(Permitted::No) => Finding {
            exit: Class::Denied.into(),
            ..finding(
                Level::Failed,
                format!(
                    "the role may not tag {id}: allow ec2:CreateTags on arn:{}:ec2:{}:{}:instance/{id} for the keys {} \
                     (examples/iam/node.json)",
                    Partition::of(&instance.region).name,
                    instance.region,
                    instance.account,
                    keys.join(", ")
                ),
            )
        },
        Err(error) => Finding { exit: error.class.into(), ..finding(Level::Failed, error.to_string()) },
    })
}
