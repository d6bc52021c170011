//! Finds out which instance this is, beside everything else: nothing waits for it.

use std::fmt;
use std::future::{Future, pending};
use std::pin::Pin;

use authkeys_core::caught::caught;

/// Where the instance's id comes from, once.
pub struct Identify(Option<Pin<Box<dyn Future<Output = Option<String>>>>>);

impl Identify {
    /// By asking: `None` means that there is no instance.
    pub fn by(asking: impl Future<Output = Option<String>> + 'static) -> Self {
        Self(Some(Box::pin(asking)))
    }

    /// Ends when the id is known, and only then.
    pub(super) async fn found(&mut self) -> String {
        if let Some(asking) = &mut self.0 {
            let answer = caught(asking).await;
            self.0 = None;
            if let Ok(Some(id)) = answer {
                return id;
            }
        }
        pending().await
    }
}

impl fmt::Debug for Identify {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identify").field(&self.0.is_some()).finish()
    }
}
