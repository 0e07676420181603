#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| eddy_sim::fuzz::file_format(data));
