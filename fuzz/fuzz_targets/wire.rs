#![no_main]
#![allow(missing_docs, reason = "the macro's own items")]

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    authkeysd_fuzz::wire::check(input);
});
