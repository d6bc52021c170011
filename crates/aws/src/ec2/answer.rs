//! EC2's answers, which are XML.

use std::collections::BTreeMap;

use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use jiff::Timestamp;

/// One instance, as DescribeInstances reports it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Ec2Instance {
    /// `i-...`.
    pub id: String,
    /// The account that owns it.
    pub account: String,
    /// `running`, `stopped`, and so on.
    pub state: String,
    /// Its private address; or empty.
    pub private_address: String,
    /// Its public address; or empty.
    pub public_address: String,
    /// Its public DNS name, or otherwise its private one; or empty.
    pub dns_name: String,
    /// When it was last started.
    pub launched: Option<Timestamp>,
    /// All of its tags.
    pub tags: BTreeMap<String, String>,
}

/// One page of DescribeInstances: the instances, and the token of the next page.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct InstancePage {
    pub(super) instances: Vec<Ec2Instance>,
    pub(super) next: Option<String>,
}

/// The contents of an error answer.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct Ec2Refusal {
    pub(super) code: String,
    pub(super) message: String,
    pub(super) request_id: String,
}

pub(super) fn page(body: &str) -> Result<InstancePage, XmlDecodeError> {
    // XML does not allow these characters. A server that sends them in a tag must not hide all
    // nodes because of one.
    let clean = body
        .contains(no_xml)
        .then(|| body.replace(no_xml, "\u{fffd}"));
    let body = clean.as_deref().unwrap_or(body);
    // The decoder treats a fault, or the end of the text, as the end of an element: a truncated
    // page would look like a short one.
    Document::new(body)
        .find_map(Result::err)
        .map_or(Ok(()), Err)?;
    if !body.trim_end().ends_with("</DescribeInstancesResponse>") {
        return Err(XmlDecodeError::custom(
            "it is not a whole DescribeInstancesResponse",
        ));
    }
    let mut page = InstancePage::default();
    let mut document = Document::new(body);
    let mut root = document.root_element()?;
    while let Some(mut part) = root.next_tag() {
        match part.start_el().local() {
            "reservationSet" => each(&mut part, "item", |reservation| {
                page.instances.extend(reserved(reservation)?);
                Ok(())
            })?,
            "nextToken" => {
                page.next =
                    Some(try_data(&mut part)?.into_owned()).filter(|token| !token.is_empty())
            }
            _ => {}
        }
    }
    Ok(page)
}

/// The instances that one call started; they share the account.
fn reserved(mut reservation: ScopedDecoder<'_, '_>) -> Result<Vec<Ec2Instance>, XmlDecodeError> {
    let mut account = String::new();
    let mut instances = Vec::new();
    while let Some(mut part) = reservation.next_tag() {
        match part.start_el().local() {
            "ownerId" => account = try_data(&mut part)?.into_owned(),
            "instancesSet" => each(&mut part, "item", |item| {
                instances.push(instance(item)?);
                Ok(())
            })?,
            _ => {}
        }
    }
    for instance in &mut instances {
        instance.account.clone_from(&account);
    }
    Ok(instances)
}

fn no_xml(sign: char) -> bool {
    sign < ' ' && !matches!(sign, '\t' | '\n' | '\r') || matches!(sign, '\u{fffe}' | '\u{ffff}')
}

fn instance(mut item: ScopedDecoder<'_, '_>) -> Result<Ec2Instance, XmlDecodeError> {
    let mut instance = Ec2Instance::default();
    let mut private_name = String::new();
    while let Some(mut part) = item.next_tag() {
        match part.start_el().local() {
            "instanceId" => instance.id = try_data(&mut part)?.into_owned(),
            "privateIpAddress" => instance.private_address = try_data(&mut part)?.into_owned(),
            "ipAddress" => instance.public_address = try_data(&mut part)?.into_owned(),
            "dnsName" => instance.dns_name = try_data(&mut part)?.into_owned(),
            "privateDnsName" => private_name = try_data(&mut part)?.into_owned(),
            "launchTime" => instance.launched = try_data(&mut part)?.parse().ok(),
            "instanceState" => each(&mut part, "name", |mut name| {
                instance.state = try_data(&mut name)?.into_owned();
                Ok(())
            })?,
            "tagSet" => each(&mut part, "item", |tag| {
                let (key, value) = pair(tag)?;
                instance.tags.insert(key, value);
                Ok(())
            })?,
            _ => {}
        }
    }
    if instance.dns_name.is_empty() {
        instance.dns_name = private_name;
    }
    Ok(instance)
}

fn pair(mut tag: ScopedDecoder<'_, '_>) -> Result<(String, String), XmlDecodeError> {
    let mut key = String::new();
    let mut value = String::new();
    while let Some(mut part) = tag.next_tag() {
        match part.start_el().local() {
            "key" => key = try_data(&mut part)?.into_owned(),
            "value" => value = try_data(&mut part)?.into_owned(),
            _ => {}
        }
    }
    Ok((key, value))
}

/// Reads as much of an error as possible: a proxy's web page has no fields of one.
pub(super) fn refusal(body: &str) -> Ec2Refusal {
    let mut refusal = Ec2Refusal::default();
    // What was read before a fault is kept.
    let _ = read_refusal(body, &mut refusal);
    refusal
}

fn read_refusal(body: &str, refusal: &mut Ec2Refusal) -> Result<(), XmlDecodeError> {
    let mut document = Document::new(body);
    let mut root = document.root_element()?;
    while let Some(mut part) = root.next_tag() {
        match part.start_el().local() {
            "Errors" => each(&mut part, "Error", |mut error| {
                while let Some(mut part) = error.next_tag() {
                    match part.start_el().local() {
                        "Code" => refusal.code = try_data(&mut part)?.into_owned(),
                        "Message" => refusal.message = try_data(&mut part)?.into_owned(),
                        _ => {}
                    }
                }
                Ok(())
            })?,
            "RequestID" | "RequestId" => refusal.request_id = try_data(&mut part)?.into_owned(),
            _ => {}
        }
    }
    Ok(())
}

/// Passes every child of that name to `take`.
fn each<'inp>(
    parent: &mut ScopedDecoder<'inp, '_>,
    name: &str,
    mut take: impl FnMut(ScopedDecoder<'inp, '_>) -> Result<(), XmlDecodeError>,
) -> Result<(), XmlDecodeError> {
    while let Some(child) = parent.next_tag() {
        if child.start_el().local() == name {
            take(child)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r#"<?xml version="1.0" encoding="UTF-8"?>
<DescribeInstancesResponse xmlns="http://ec2.amazonaws.com/doc/2016-11-15/">
  <requestId>r</requestId>
  <reservationSet>
    <item><reservationId>r-1</reservationId><groupSet/><instancesSet>
      <item><instanceId>i-1</instanceId><instanceState><code>16</code><name>running</name></instanceState>
        <privateDnsName>ip-10-0-0-1.internal</privateDnsName><dnsName/><privateIpAddress>10.0.0.1</privateIpAddress>
        <ipAddress>192.0.2.1</ipAddress><launchTime>2026-11-21T10:00:00.000Z</launchTime>
        <networkInterfaceSet><item><tagSet><item><key>not</key><value>ours</value></item></tagSet></item></networkInterfaceSet>
        <tagSet><item><key>a&amp;b</key><value>&#x3C;1&gt;</value></item><item><key>empty</key><value/></item></tagSet></item>
      <item><instanceId>i-2</instanceId><instanceState><name>stopped</name></instanceState></item>
    </instancesSet></item>
    <item><ownerId>123456789012</ownerId><instancesSet><item><instanceId>i-3</instanceId></item></instancesSet></item>
  </reservationSet>
  <nextToken>eyJ2==</nextToken>
</DescribeInstancesResponse>"#;

    #[test]
    fn a_page_has_its_instances_and_their_own_tags() {
        let page = page(PAGE).unwrap();
        assert_eq!(page.next.as_deref(), Some("eyJ2=="));
        let ids: Vec<_> = page
            .instances
            .iter()
            .map(|i| (i.id.as_str(), i.state.as_str()))
            .collect();
        assert_eq!(ids, [("i-1", "running"), ("i-2", "stopped"), ("i-3", "")]);
        let first = &page.instances[0];
        assert_eq!(
            (
                first.private_address.as_str(),
                first.public_address.as_str(),
                first.dns_name.as_str()
            ),
            ("10.0.0.1", "192.0.2.1", "ip-10-0-0-1.internal")
        );
        let tags =
            [("a&b", "<1>"), ("empty", "")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        assert_eq!(page.instances[0].tags, BTreeMap::from(tags));
        assert_eq!(
            page.instances[0].launched,
            Some("2026-11-21T10:00:00Z".parse().unwrap())
        );
    }

    #[test]
    fn what_is_no_page_is_an_error_and_never_an_empty_fleet() {
        for at in 0..PAGE.len() {
            let cut = std::str::from_utf8(&PAGE.as_bytes()[..at]).unwrap();
            assert!(page(cut).is_err(), "cut at {at}");
        }
        let broken = PAGE.replacen("<item>", "<it<em>", 1);
        for body in [
            "",
            "<html>Please log in</html>",
            "<Response><Errors/></Response>",
            "{}",
            &broken,
        ] {
            assert!(page(body).is_err(), "{body}");
        }
    }

    #[test]
    fn signs_that_no_xml_may_have_in_one_nodes_tag_hide_no_node() {
        for (sign, seen) in [
            ("\u{1b}", "\u{fffd}"),
            ("\u{0}", "\u{fffd}"),
            ("\u{ffff}", "\u{fffd}"),
            ("&#x1b;", "\u{1b}"),
            ("\u{202e}", "\u{202e}"),
        ] {
            let body = PAGE.replacen("&#x3C;1&gt;", sign, 1);
            let page = page(&body).unwrap_or_else(|fault| panic!("{sign:?}: {fault}"));
            assert_eq!(
                (page.instances.len(), page.instances[0].tags["a&b"].as_str()),
                (3, seen),
                "{sign:?}"
            );
        }
    }

    #[test]
    fn a_refusal_is_read_as_well_as_it_can_be() {
        let body = "<?xml version=\"1.0\"?><Response><Errors><Error><Code>UnauthorizedOperation</Code>\
                    <Message>You are not &lt;authorized&gt;</Message></Error></Errors><RequestID>R1</RequestID></Response>";
        let refusal = refusal(body);
        assert_eq!(
            (refusal.code.as_str(), refusal.request_id.as_str()),
            ("UnauthorizedOperation", "R1")
        );
        assert_eq!(refusal.message, "You are not <authorized>");
        assert_eq!(super::refusal("<html>503"), Ec2Refusal::default());
    }
}
