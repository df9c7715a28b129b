#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| turris_auth_fuzz::store_answer(data));
