//! EC2's two calls against a scripted server, and against moto's EC2: forms, signatures, pages,
//! errors and remedies.

use std::collections::BTreeMap;
use std::future::Future;
use std::path::Path;
use std::time::Duration;

use authkeys_aws::client::Limits;
use authkeys_aws::client::retry::Policy;
use authkeys_aws::ec2::{Ec2, Ec2Filter, Permitted};
use authkeys_core::origin::Class;
use authkeys_testing::ec2::Ec2Stub;
use authkeys_testing::moto::Moto;

use crate::isolated::{isolated, set_profile};

const ID: &str = "i-0e2e0000000000001";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(future)
}

fn client(home: &Path, endpoint: &str) -> Ec2 {
    set_profile(home, &format!("endpoint_url = {endpoint}"));
    let retry = Policy {
        base: Duration::from_millis(5),
        ..Policy::default()
    };
    let read = Duration::from_millis(1_500);
    Ec2::new(
        Limits {
            read,
            attempt: 2 * read,
            retry,
            ..Limits::default()
        },
        None,
    )
}

fn tags(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect()
}

fn filter(name: &str, values: &[&str]) -> Ec2Filter {
    Ec2Filter {
        name: name.to_owned(),
        values: values.iter().map(|value| (*value).to_owned()).collect(),
    }
}

#[test]
fn tags_are_set_by_one_signed_call() {
    isolated(&[], |home| {
        let stub = Ec2Stub::start();
        let ours = tags(&[
            ("EC2KeyName", "workers-2026-11"),
            ("authkeysd:detail", ""),
            ("authkeysd:status", "ok & é+/="),
        ]);
        let client = client(home, &stub.endpoint());
        block_on(async {
            client.create_tags(ID, &ours).await.unwrap();
            assert_eq!(client.may_create_tags(ID, &ours).await, Ok(Permitted::Yes));
        });
        assert_eq!(stub.tags(ID), ours);
        let calls = stub.calls();
        assert_eq!(calls.len(), 2);
        let scope = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/";
        let signed = "/eu-central-1/ec2/aws4_request, SignedHeaders=content-type;host;x-amz-date, \
                      Signature=";
        assert!(
            calls[0].authorization.starts_with(scope) && calls[0].authorization.contains(signed),
            "{calls:?}"
        );
        assert!(calls[1].form.contains_key("DryRun"));
        assert_eq!(
            format!("http://{}", calls[0].host),
            stub.endpoint(),
            "what is signed is what is sent"
        );
    });
}

#[test]
fn every_refusal_has_its_class_and_its_remedy() {
    isolated(&[], |home| {
        let stub = Ec2Stub::start();
        let client = client(home, &stub.endpoint());
        let all = [
            (
                403,
                "UnauthorizedOperation",
                Class::Denied,
                "allow ec2:CreateTags on this instance",
            ),
            (
                401,
                "AuthFailure",
                Class::Denied,
                "the credentials are wrong",
            ),
            (
                503,
                "RequestLimitExceeded",
                Class::Transient,
                "it is tried again",
            ),
            (503, "Unavailable", Class::Transient, "it is tried again"),
            (500, "InternalError", Class::Transient, "it is tried again"),
            (400, "TagLimitExceeded", Class::Invalid, "remove some"),
            (
                400,
                "InvalidInstanceID.NotFound",
                Class::Missing,
                "is the region right",
            ),
            (400, "RequestExpired", Class::Transient, "clock is wrong"),
            (
                400,
                "InvalidParameterValue",
                Class::Invalid,
                "`tag_prefix` and `key_name_tag`",
            ),
            (
                400,
                "SomethingElse",
                Class::Invalid,
                "check the region and the endpoint http://127.0.0.1",
            ),
            (
                404,
                "InvalidAction",
                Class::Invalid,
                "check the region and the endpoint",
            ),
        ];
        for (status, code, class, remedy) in all {
            stub.refuse(status, code);
            let failed = block_on(client.create_tags(ID, &tags(&[("a", "b")]))).unwrap_err();
            let class = if status == 404 { Class::Missing } else { class };
            assert_eq!(failed.class, class, "{code}: {failed}");
            let text = failed.to_string();
            let head =
                format!("tags: EC2 CreateTags answered {status} {code}, request id 59dbff89");
            assert!(
                text.starts_with(&head) && text.contains(remedy),
                "{code}: {text}"
            );
        }
        let asked = stub.calls().len();
        // Of a question for instances the filter is at fault, and no setting of a node.
        for code in [
            "InvalidParameterValue",
            "InvalidParameter",
            "FilterLimitExceeded",
        ] {
            stub.refuse(400, code);
            let text = block_on(client.instances(&[])).unwrap_err().to_string();
            assert!(
                text.contains("--filter") && !text.contains("tag_prefix"),
                "{code}: {text}"
            );
        }
        assert_eq!(
            asked,
            all.len(),
            "one attempt each: when to try again is not this part's to say"
        );
        stub.refuse(403, "UnauthorizedOperation");
        assert_eq!(
            block_on(client.may_create_tags(ID, &tags(&[("a", "b")]))),
            Ok(Permitted::No)
        );
    });
}

#[test]
fn what_is_not_ec2_and_what_does_not_answer_is_told_so() {
    isolated(&[], |home| {
        let stub = Ec2Stub::start();
        let client = client(home, &stub.endpoint());
        stub.answer(200, "<html>Please log in</html>");
        let failed = block_on(client.instances(&[])).unwrap_err();
        assert_eq!(failed.class, Class::Transient);
        assert!(
            failed
                .message
                .contains("sent something that is not an answer of EC2"),
            "{failed}"
        );
        let gone = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = format!("http://{}", gone.local_addr().unwrap());
        let hung = self::client(home, &nobody);
        let failed = block_on(hung.create_tags(ID, &tags(&[("a", "b")]))).unwrap_err();
        assert_eq!(failed.class, Class::Transient, "{failed}");
        drop(gone);
        let failed = block_on(self::client(home, &nobody).create_tags(ID, &tags(&[("a", "b")])))
            .unwrap_err();
        assert!(
            failed.class == Class::Transient && failed.message.contains("did not reach"),
            "{failed}"
        );
        let plain = self::client(home, "http://ec2.eu-central-1.amazonaws.com");
        let failed = block_on(plain.create_tags(ID, &tags(&[("a", "b")]))).unwrap_err();
        assert!(
            failed.class == Class::Invalid && failed.remedy.contains("https://"),
            "{failed}"
        );
    });
}

#[test]
fn all_pages_are_read_and_none_that_is_missing_is_overlooked() {
    isolated(&[], |home| {
        let page = |id: &str, next: &str| {
            format!(
                "<DescribeInstancesResponse><reservationSet><item><instancesSet><item><instanceId>{id}</instanceId>\
                 </item></instancesSet></item></reservationSet>{next}</DescribeInstancesResponse>"
            )
        };
        let stub = Ec2Stub::start();
        let (one, two) = (
            page("i-1", "<nextToken>1</nextToken>"),
            page("i-2", "<nextToken>2</nextToken>"),
        );
        stub.show(&[&one, &two, &page("i-3", "")]);
        let client = client(home, &stub.endpoint());
        let filters = [
            filter("tag:env", &["prod", "stage"]),
            filter("instance-state-name", &["running"]),
        ];
        let found = block_on(client.instances(&filters)).unwrap();
        assert_eq!(
            found
                .iter()
                .map(|instance| instance.id.as_str())
                .collect::<Vec<_>>(),
            ["i-1", "i-2", "i-3"]
        );
        assert!(
            stub.calls()
                .iter()
                .all(|call| call.form["Filter.1.Value.2"] == "stage")
        );
        // A page that points to itself.
        stub.show(&[&one, &page("i-2", "<nextToken>1</nextToken>")]);
        assert!(
            block_on(client.instances(&filters))
                .unwrap_err()
                .message
                .contains("no last page")
        );
    });
}

#[test]
fn motos_ec2_takes_the_tags_and_finds_the_instances_by_them() {
    if !Moto::prepare() {
        return;
    }
    isolated(&[], |home| {
        let moto = Moto::start();
        let ids = moto.run_instances(3);
        let client = client(home, &moto.endpoint());
        let ours = tags(&[
            ("EC2KeyName", "w"),
            ("authkeysd:status", "ok"),
            ("authkeysd:detail", ""),
        ]);
        block_on(async {
            client.create_tags(&ids[1], &ours).await.unwrap();
            assert_eq!(
                client.may_create_tags(&ids[1], &ours).await,
                Ok(Permitted::Yes)
            );
            let running = filter("instance-state-name", &["running"]);
            let all = client
                .instances(std::slice::from_ref(&running))
                .await
                .unwrap();
            assert_eq!(
                all.iter()
                    .map(|i| i.id.clone())
                    .collect::<std::collections::BTreeSet<_>>(),
                ids.iter().cloned().collect()
            );
            assert!(
                all.iter()
                    .all(|instance| instance.state == "running" && instance.launched.is_some())
            );
            let tagged = client
                .instances(&[running, filter("tag:authkeysd:status", &["ok"])])
                .await
                .unwrap();
            assert_eq!(
                (tagged.len(), &tagged[0].id, &tagged[0].tags),
                (1, &ids[1], &ours)
            );
        });
    });
}

#[test]
fn instances_are_asked_again_by_their_ids_where_that_takes_no_more_calls() {
    isolated(&[], |home| {
        let stub = Ec2Stub::start();
        let client = client(home, &stub.endpoint());
        let items: String = (0..250)
            .map(|number| {
                format!(
                    "<item><ownerId>123456789012</ownerId><instancesSet><item><instanceId>i-{number}</instanceId></item></instancesSet></item>"
                )
            })
            .collect();
        let page = format!(
            "<DescribeInstancesResponse><reservationSet>{items}</reservationSet></DescribeInstancesResponse>"
        );
        stub.show(&[&page]);
        let running = [filter("instance-state-name", &["running"])];
        // How many are asked again, of how many; the calls, and those that name ids.
        for (again, known, calls, named) in [
            (1, 1_000, 1, 1),
            (200, 1_000, 1, 1),
            (201, 1_000, 1, 0),
            (201, 1_001, 2, 2),
            (2_000, 10_000, 10, 10),
            (2_001, 10_000, 1, 0),
        ] {
            let before = stub.calls().len();
            let ids: Vec<String> = (0..again).map(|number| format!("i-{number}")).collect();
            let found = block_on(client.instances_again(&ids, &running, known)).unwrap();
            assert_eq!(found[0].account, "123456789012");
            let asked = &stub.calls()[before..];
            assert_eq!(asked.len(), calls, "{again} of {known}");
            let by_id = |call: &&authkeys_testing::ec2::Ec2Call| {
                call.form
                    .get("Filter.2.Name")
                    .is_some_and(|name| name == "instance-id")
            };
            assert_eq!(
                asked.iter().filter(by_id).count(),
                named,
                "{again} of {known}"
            );
            if named == 0 {
                assert_eq!(
                    found.len(),
                    250.min(again),
                    "only those that were asked for"
                );
            }
        }
    });
}
