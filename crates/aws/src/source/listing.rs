//! One page of ListObjectsV2.
//!
//! The SDK's own operation would add 100 KB of code to each package for five fields. So the request
//! is that of GetObject, whose address and signature the SDK makes, with another query; the answer
//! is read with the SDK's XML decoder, like EC2's answers.

use aws_sdk_s3::Client;
use aws_smithy_xml::decode::{Document, ScopedDecoder, XmlDecodeError, try_data};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::s3::body;
use crate::client::Limits;
use crate::client::fault::Call;
use authkeys_core::origin::{Class, FetchError};

/// A placeholder for an object's key, which is removed again.
const KEY: &str = "authkeysd-list";
/// The size limit of a page in bytes: 1,000 keys of 1,024 bytes, all escaped.
const MAX_PAGE: usize = 8 << 20;

/// What a page reports about an object.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct ListedObject {
    pub(crate) key: String,
    /// The ETag, or empty if there is none.
    pub(crate) tag: String,
    pub(crate) size: usize,
}

/// One page, and the token for the next one.
#[derive(Debug, PartialEq, Eq, Default)]
pub(crate) struct Listing {
    pub(crate) objects: Vec<ListedObject>,
    pub(crate) next: Option<String>,
}

/// Which objects to list.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListRequest<'a> {
    pub(crate) bucket: &'a str,
    pub(crate) prefix: &'a str,
    /// Whether to include those below a further slash.
    pub(crate) is_deep: bool,
}

/// Requests a page.
pub(crate) async fn page(
    limits: Limits,
    client: &Client,
    call: &Call,
    wanted: ListRequest<'_>,
    next: Option<&str>,
) -> Result<Listing, FetchError> {
    // With escaped names, no name can break the XML of the answer.
    let prefix = utf8_percent_encode(wanted.prefix, NON_ALPHANUMERIC);
    let mut query = format!("?encoding-type=url&list-type=2&prefix={prefix}");
    if !wanted.is_deep {
        query.push_str("&delimiter=%2F");
    }
    if let Some(next) = next {
        let next = utf8_percent_encode(next, NON_ALPHANUMERIC);
        query.push_str(&format!("&continuation-token={next}"));
    }
    let request = client.get_object().bucket(wanted.bucket).key(KEY);
    let request = request.customize().mutate_request(move |request| {
        // The last one: the name of a bucket may contain it too.
        if let Some((address, _)) = request.uri().rsplit_once(KEY) {
            // Only an invalid address would be refused, and the SDK made this one.
            let _ = request.set_uri(format!("{address}{query}"));
        }
    });
    match request.send().await {
        Ok(answer) => {
            let bytes = body(limits.read, call, answer, MAX_PAGE).await?;
            read(&String::from_utf8_lossy(&bytes)).map_err(|fault| {
                let what = format!("answered what is not a list of objects: {fault}");
                call.failed(Class::Invalid, &what, "check the endpoint")
            })
        }
        Err(error) => Err(call.classed(&error)),
    }
}

fn read(body: &str) -> Result<Listing, XmlDecodeError> {
    // The decoder treats a fault, or the end of the text, as the end of an element: a truncated
    // page would look like a short one.
    Document::new(body)
        .find_map(Result::err)
        .map_or(Ok(()), Err)?;
    if !body.trim_end().ends_with("</ListBucketResult>") {
        return Err(XmlDecodeError::custom("it is not a whole ListBucketResult"));
    }
    let mut listing = Listing::default();
    let mut is_escaped = false;
    let mut is_truncated = false;
    let mut document = Document::new(body);
    let mut root = document.root_element()?;
    while let Some(mut part) = root.next_tag() {
        match part.start_el().local() {
            "Contents" => listing.objects.push(entry(part)?),
            "EncodingType" => is_escaped = try_data(&mut part)?.as_ref() == "url",
            "IsTruncated" => is_truncated = try_data(&mut part)?.as_ref() == "true",
            "NextContinuationToken" => {
                listing.next =
                    Some(try_data(&mut part)?.into_owned()).filter(|token| !token.is_empty());
            }
            _ => {}
        }
    }
    if is_truncated && listing.next.is_none() {
        return Err(XmlDecodeError::custom(
            "there is more, and it does not say how to ask for it",
        ));
    }
    listing.next = listing.next.filter(|_| is_truncated);
    if is_escaped {
        for object in &mut listing.objects {
            // A plus sign means a space, as in a form.
            let key = object.key.replace('+', " ");
            object.key = percent_decode_str(&key).decode_utf8_lossy().into_owned();
        }
    }
    Ok(listing)
}

fn entry(mut contents: ScopedDecoder<'_, '_>) -> Result<ListedObject, XmlDecodeError> {
    let mut entry = ListedObject::default();
    while let Some(mut part) = contents.next_tag() {
        match part.start_el().local() {
            "Key" => entry.key = try_data(&mut part)?.into_owned(),
            "ETag" => entry.tag = try_data(&mut part)?.into_owned(),
            "Size" => entry.size = try_data(&mut part)?.parse().unwrap_or(usize::MAX),
            _ => {}
        }
    }
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let page = "<?xml version=\"1.0\"?>\n<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
            <Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated>\
            <Contents><Key>p/a+b%2B%C3%BC</Key><ETag>&quot;t&quot;</ETag><Size>3</Size><Owner><ID>x</ID></Owner></Contents>\
            <Contents><Key>p/c</Key><Size>many</Size></Contents>\
            <NextContinuationToken>1/x==</NextContinuationToken></ListBucketResult>";
        let listing = read(page).unwrap();
        let keys: Vec<&str> = listing.objects.iter().map(|one| one.key.as_str()).collect();
        assert_eq!(keys, ["p/a b+ü", "p/c"]);
        assert_eq!(
            (listing.objects[0].tag.as_str(), listing.objects[0].size),
            ("\"t\"", 3)
        );
        assert_eq!(
            (listing.objects[1].tag.as_str(), listing.objects[1].size),
            ("", usize::MAX)
        );
        assert_eq!(listing.next.as_deref(), Some("1/x=="));
        let last = page.replace("<IsTruncated>true", "<IsTruncated>false");
        assert_eq!(read(&last).unwrap().next, None);
        let lost = page.replace("<NextContinuationToken>1/x==</NextContinuationToken>", "");
        assert!(read(&lost).is_err(), "a part of the list is not the list");
        for end in [page.len() - 1, page.len() / 2, 0] {
            assert!(read(page.get(..end).unwrap()).is_err(), "{end}");
        }
        assert!(read("<html></html>").is_err());
    }
}
