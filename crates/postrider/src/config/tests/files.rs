//! Files and variables that are wrong as a whole or clash, with the exact words.

use super::*;

#[test]
fn a_file_that_cannot_be_read_is_told() {
    let mut world = good();
    world.folder = tempfile::tempdir().unwrap();
    assert_eq!(
        world.errors(),
        "c.toml: cannot be read: No such file or directory (os error 2)\n  \
         hint: write it (`postrider demo` prints one to begin with), or name another with --config or \
         POSTRIDER_CONFIG; without them it is ./postrider.toml, else /etc/postrider/postrider.toml"
    );
}

#[test]
fn the_same_key_in_two_files_names_both() {
    let world = World::new(&format!(
        "include = [\"d/*.toml\"]\nlimits.grace = \"20s\"\n{GOOD}"
    ))
    .file("d/a.toml", "[limits]\ngrace = \"10s\"\nevent = \"32KiB\"\n")
    .file(
        "d/b.toml",
        "\n[mailboxes.lab]\nlabels = { copied = \"yes\" }\n",
    );
    assert_eq!(
        world.errors(),
        "d/a.toml:2: `limits.grace` is set in two files: here and at c.toml:2\n  hint: keep one of them\n\
         d/b.toml:2: `mailboxes.lab` is set in two files: here and at c.toml:11\n  hint: keep one of them"
    );
}

#[test]
fn an_include_that_cannot_be_followed_is_told() {
    let world = World::new(&format!(
        "include = [\"none.toml\", \"*/x.toml\", \"d/*.toml\", \"nowhere/*.toml\"]\n{GOOD}"
    ))
    .file("d/a.toml", "include = [\"b.toml\"]\n");
    assert_eq!(
        world.errors(),
        "c.toml:1: `include`: */x.toml has a wildcard before its last part\n\
         c.toml:1: `include`: none.toml is no file\n\
         d/a.toml:1: unknown key `include`\n  hint: files are included by the main file only"
    );
}

#[test]
fn every_error_of_every_file_is_told_at_once_in_order() {
    let world = World::new(&format!(
        "include = [\"d/*.toml\"]\ninstanze = \"x\"\n{GOOD}"
    ))
    .file("d/a.toml", "[limits\n")
    .file(
        "d/b.toml",
        "[limits]\ngrace = 1\n[store]\nreserve = \"lots\"\n",
    );
    assert_eq!(
        world
            .errors()
            .lines()
            .filter(|line| !line.starts_with(' '))
            .collect::<Vec<_>>(),
        [
            "c.toml:2: unknown key `instanze`",
            "d/a.toml:1: not TOML: invalid table header, expected `.`, `]`",
            "d/b.toml:2: `limits.grace` is a number without a unit",
            "d/b.toml:4: `store.reserve` is `lots`, which is no size",
        ]
    );
}

#[test]
fn a_variable_of_the_environment_is_judged_like_a_key() {
    let world = good()
        .set("POSTRIDER__LIMITS__GRACE", "30")
        .set("POSTRIDER__LIMITS__AUDIT_DAYS", "many")
        .set("POSTRIDER__LIMIT__GRACE", "30s")
        .set("POSTRIDER__INCLUDE", "x.toml")
        .set("POSTRIDER__ENDPOINTS__TICKETS__SECRET", "whsec_hunter2")
        .set("POSTRIDER__STORE__ALLOW_NETWORK_FILESYSTEM", "yes")
        .set("POSTRIDER__INSTANCE__NAME", "x");
    assert_eq!(
        world.errors(),
        r#"POSTRIDER__ENDPOINTS__TICKETS__SECRET: `endpoints.tickets.secret` is a secret, which cannot be set by this variable
  hint: write { env = "NAME" } in the file and put the secret into NAME
POSTRIDER__LIMITS__AUDIT_DAYS: `limits.audit_days` has to be a whole number
POSTRIDER__LIMITS__GRACE: `limits.grace` is `30`, which is no duration
  hint: write a number and a unit: "250ms", "30s", "5m", "12h", "5d"
POSTRIDER__STORE__ALLOW_NETWORK_FILESYSTEM: `store.allow_network_filesystem` has to be true or false
POSTRIDER__INCLUDE: files are included by the main file only
POSTRIDER__INSTANCE__NAME: sets no known key
  hint: `instance` has no keys below it
POSTRIDER__LIMIT__GRACE: sets no known key
  hint: did you mean POSTRIDER__LIMITS__GRACE?"#
    );
}
