#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| turris_auth::fuzzing::request_head(data));
