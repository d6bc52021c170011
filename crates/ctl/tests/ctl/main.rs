//! authkeysctl, as an operator runs it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code"
)]
#![allow(clippy::string_slice, clippy::disallowed_methods, reason = "test code")]

mod agents;
mod browser;
mod bucket;
mod cloud;
mod desk;
mod edited_key_sets;
mod emergency;
mod fleet;
mod fleet_of_agents;
mod fleet_page;
mod grant;
mod guide;
mod history;
mod instances;
mod json_services;
mod key_agents;
mod killed;
mod kms;
mod lint;
mod model;
mod nudge;
mod program;
mod publish;
mod publish_faults;
mod publish_first;
mod publish_parameters;
mod publish_secrets;
mod revoke;
mod rollback;
mod rotate;
mod rotate_costs;
mod rotate_secrecy;
mod rotate_throttled;
mod screen;
mod seaweed;
mod show;
mod show_faults;
mod sign;
mod terminal;
mod using;
mod using_killed;
mod using_secrecy;
mod verify;
