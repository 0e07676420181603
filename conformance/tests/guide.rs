//! `docs/DRIVERS.md` says what is the case.

const GUIDE: &str = include_str!("../../docs/DRIVERS.md");
const LOOP: &str = include_str!("../examples/own_loop.rs");
const MOUNT: &str = include_str!("own_loop.rs");
const CHECKS: &str = include_str!("../src/check.rs");

#[test]
fn its_code_is_the_examples() {
    let blocks: Vec<&str> = GUIDE.split("```rust\n").skip(1).collect();
    assert!(blocks.len() > 5);
    for block in blocks {
        let code = block.split("```").next().unwrap();
        assert!(LOOP.contains(code) || MOUNT.contains(code), "not in the example:\n{code}");
    }
}

#[test]
fn it_explains_every_check() {
    let variants = CHECKS.split_once("pub enum Check {").unwrap().1.split_once("\n}").unwrap().0;
    let names = variants.lines().filter_map(|line| line.trim().strip_suffix(','));
    let names: Vec<&str> = names.filter(|name| name.chars().all(char::is_alphanumeric)).collect();
    assert!(names.len() > 30, "{names:?}");
    for name in names {
        assert!(GUIDE.contains(&format!("`{name}`")), "{name} is not explained");
    }
}
