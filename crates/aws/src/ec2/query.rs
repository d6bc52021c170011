//! EC2's query protocol: a form of names and values.

use std::collections::BTreeMap;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// The API version of the parameters and answers.
const VERSION: &str = "2016-11-15";
/// The most instances in one page.
const PAGE: &str = "1000";
/// All characters except those that RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Selects instances; the values of one filter are alternatives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ec2Filter {
    /// EC2's name of the filter: `tag:KEY`, `instance-state-name`, `instance-id`.
    pub name: String,
    /// The alternatives; `*` matches any text and `?` any character.
    pub values: Vec<String>,
}

/// The form of a CreateTags call. With `dry_run` EC2 only reports whether it would be permitted.
pub(super) fn create_tags(
    instances: &[&str],
    tags: &BTreeMap<String, String>,
    dry_run: bool,
) -> String {
    let mut form = begin("CreateTags");
    for (number, instance) in (1..).zip(instances) {
        add(&mut form, &format!("ResourceId.{number}"), instance);
    }
    for (number, (key, value)) in (1..).zip(tags) {
        add(&mut form, &format!("Tag.{number}.Key"), key);
        add(&mut form, &format!("Tag.{number}.Value"), value);
    }
    if dry_run {
        add(&mut form, "DryRun", "true");
    }
    form
}

/// The form of a DescribeInstances call for the page with the token `next`.
pub(super) fn describe_instances(filters: &[Ec2Filter], next: Option<&str>) -> String {
    let mut form = begin("DescribeInstances");
    for (number, filter) in (1..).zip(filters) {
        add(&mut form, &format!("Filter.{number}.Name"), &filter.name);
        for (value_number, value) in (1..).zip(&filter.values) {
            add(
                &mut form,
                &format!("Filter.{number}.Value.{value_number}"),
                value,
            );
        }
    }
    add(&mut form, "MaxResults", PAGE);
    if let Some(next) = next {
        add(&mut form, "NextToken", next);
    }
    form
}

fn begin(action: &str) -> String {
    format!("Action={action}&Version={VERSION}")
}

fn add(form: &mut String, name: &str, value: &str) {
    form.extend(["&", name, "="]);
    form.extend(utf8_percent_encode(value, RESERVED));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_value_can_break_out_of_its_place() {
        let tags = BTreeMap::from([
            ("a".to_owned(), "1&Tag.2.Key=b é+/".to_owned()),
            ("b:c".to_owned(), String::new()),
        ]);
        assert_eq!(
            create_tags(&["i-1"], &tags, true),
            "Action=CreateTags&Version=2016-11-15&ResourceId.1=i-1&Tag.1.Key=a&Tag.1.Value=1%26Tag.2.Key%3Db%20%C3%A9%2B%2F&Tag.2.Key=b%3Ac&Tag.2.Value=&DryRun=true"
        );
        let filters = [
            Ec2Filter {
                name: "tag:env".to_owned(),
                values: vec!["prod".to_owned(), "a*".to_owned()],
            },
            Ec2Filter {
                name: "instance-state-name".to_owned(),
                values: vec!["running".to_owned()],
            },
        ];
        assert_eq!(
            describe_instances(&filters, Some("eyJ==")),
            "Action=DescribeInstances&Version=2016-11-15&Filter.1.Name=tag%3Aenv&Filter.1.Value.1=prod&Filter.1.Value.2=a%2A&Filter.2.Name=instance-state-name&Filter.2.Value.1=running&MaxResults=1000&NextToken=eyJ%3D%3D"
        );
    }
}
