//! Runs the seeds of the fuzz targets through the same checks without a fuzzer, so that fixed
//! defects do not return.

use std::panic::catch_unwind;

fn run_seeds(target: &str, run: fn(&[u8])) {
    let folder = format!("{}/fuzz/seeds/{target}", env!("CARGO_MANIFEST_DIR"));
    let seeds = std::fs::read_dir(&folder).unwrap_or_else(|why| panic!("{folder}: {why}"));
    let mut count = 0;
    for seed in seeds {
        let path = seed.expect("a file").path();
        let data = std::fs::read(&path).expect("readable");
        assert!(catch_unwind(|| run(&data)).is_ok(), "{} fails", path.display());
        count += 1;
    }
    assert!(count >= 20, "{folder} has but {count} seeds");
}

#[test]
fn every_seed_of_request_is_read_as_it_was_sent() {
    run_seeds("request", fuzz_targets::request::run);
}

#[test]
fn every_seed_of_template_gives_one_property_with_the_intended_value() {
    run_seeds("template", fuzz_targets::template::run);
}

#[test]
fn every_seed_of_answer_gives_the_answer_of_the_specification() {
    run_seeds("answer", fuzz_targets::answer::run);
}

#[test]
fn every_seed_of_state_file_is_refused_or_gives_a_past_state() {
    run_seeds("state_file", fuzz_targets::state_file::run);
}
