//! The tags of the local instance, from its metadata service if it shows them: no call to AWS, no
//! credentials, no cost.

use super::instance::{LIMIT, Metadata};
use authkeys_core::nudge::{NudgeMark, Sight};
use authkeys_core::origin::instance::NoInstance;
use authkeys_core::report::tags::is_shown_by_metadata;

/// The keys of all tags; the value of each tag is below it.
const TAGS: &str = "/latest/meta-data/tags/instance";

const SWITCHED_OFF: &str = "the instance shows no tags in its metadata service: `aws ec2 \
                            modify-instance-metadata-options --instance-id ID \
                            --instance-metadata-tags enabled`";

impl Metadata {
    /// Reads a tag of the local instance, for 6 s at most. `known` is the previous result.
    pub async fn look(&self, tag: &str, known: Option<&Sight>) -> Result<Sight, NoInstance> {
        if !is_shown_by_metadata(tag) {
            let why = "the metadata service shows no tag with such a key".to_owned();
            return Ok(Sight::Unreadable { why });
        }
        if let Some(value) = self.find(&format!("{TAGS}/{tag}"), LIMIT).await? {
            let mark = NudgeMark::of(&value);
            return Ok(Sight::Present { mark });
        }
        // Wherever tags are shown, the list of keys exists.
        if known == Some(&Sight::Absent) || self.find(TAGS, LIMIT).await?.is_some() {
            return Ok(Sight::Absent);
        }
        let why = SWITCHED_OFF.to_owned();
        Ok(Sight::Unreadable { why })
    }
}
