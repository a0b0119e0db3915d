use serde_json::{Value, json};

use super::*;

fn body() -> Value {
    json!({"$schema": "x", "location": null, "properties": {
        "vmSize": "STANDARD_NC6",
        "sshConfiguration": {
            "userAccountSettings": {"adminUserName": "ops", "adminUserPassword": "secret"}},
        "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS"},
        "subnet": null,
    }})
}

fn parse(body: &Value) -> Result<FileServerProperties, Problem> {
    FileServerProperties::parse(body.to_string().as_bytes())
}

/// The body with another value at a pointer below `properties`.
fn with(pointer: &str, value: Value) -> Value {
    let mut body = body();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let parent = body.pointer_mut(&format!("/properties{parent}")).unwrap();
    parent[name] = value;
    body
}

#[test]
fn defaults_are_filled_in_and_the_password_is_not_kept() {
    let properties = serde_json::to_value(parse(&body()).unwrap()).unwrap();
    assert_eq!(
        properties,
        json!({
            "vmSize": "STANDARD_NC6",
            "sshConfiguration": {
                "publicIPsToAllow": ["*"],
                "userAccountSettings": {"adminUserName": "ops"}},
            "dataDisks": {"diskSizeInGB": 10, "diskCount": 2, "storageAccountType": "Standard_LRS",
                          "cachingType": "none"},
        })
    );
}

#[test]
fn an_answer_can_be_sent_back() {
    let mut body = body();
    for (member, value) in [
        ("creationTime", json!("2018-07-02T10:00:00Z")),
        ("provisioningState", json!("failed")),
        ("mountSettings", json!({"mountPoint": "/data"})),
        (
            "lote",
            json!({"uid": "u", "errors": [], "directory": "/srv/a", "server": "ganesha", "nfsPort": 2049,
                "mountPort": 2050, "versions": ["4.2"], "mountCommand": "mount", "sizeLimit": {}, "usage": {}}),
        ),
    ] {
        body["properties"][member] = value;
    }
    let lote = parse(&body).unwrap().lote;
    assert_eq!(lote.directory.as_deref(), Some("/srv/a"));
    body["properties"]["lote"]["diks"] = json!([]);
    assert!(parse(&body).is_err(), "a misspelt member is refused");
}

#[test]
fn a_gigabyte_of_a_disk_is_two_to_the_thirty() {
    let properties = parse(&body()).unwrap();
    assert_eq!(properties.size_limit_bytes(), 20 << 30);
    let mut huge = properties;
    huge.data_disks.disk_size_in_gb = i32::MAX;
    huge.data_disks.disk_count = i32::MAX;
    assert_eq!(huge.size_limit_bytes(), u64::MAX);
}

#[test]
fn records_of_older_versions_are_read() {
    let old = json!({
        "path": {"group": "g", "workspace": "w", "name": "f"}, "uid": "u",
        "createdAt": "2018-07-02T10:00:00Z", "properties": parse(&body()).unwrap()});
    let record: FileServerRecord = serde_json::from_value(old).unwrap();
    assert_eq!((record.unix_id, record.erase_data), (None, false));
}

#[test]
fn each_wrong_member_is_named() {
    for (pointer, value) in [
        ("/vmSize", json!(" ")),
        (
            "/sshConfiguration/userAccountSettings/adminUserName",
            json!(""),
        ),
        ("/sshConfiguration/publicIPsToAllow", json!(vec!["*"; 401])),
        ("/dataDisks/diskCount", json!(0)),
        ("/dataDisks/diskCount", json!(-1)),
        ("/dataDisks/diskSizeInGB", json!(0)),
        ("/dataDisks/diskSizeInGB", json!("10")),
        ("/dataDisks/storageAccountType", json!("Cheap_LRS")),
        ("/dataDisks/cachingType", json!("write")),
        ("/subnet", json!({"name": "s"})),
        ("/lote", json!({"eraseDisks": true})),
        ("/lote", json!({"directory": "srv"})),
    ] {
        let error = parse(&with(pointer, value.clone())).unwrap_err();
        let target = error.target.unwrap();
        assert!(
            target.starts_with(&format!("/properties{pointer}")),
            "{pointer} {value}: {target}"
        );
    }
    let mut unknown = body();
    unknown["properties"]["vmSzie"] = json!("cpu");
    assert!(parse(&unknown).is_err());
}

#[test]
fn all_findings_come_at_once() {
    let mut body = with("/dataDisks/diskCount", json!(0));
    body["properties"]["sshConfiguration"]["publicIPsToAllow"] = json!(["10.0.0.0/8", "all"]);
    let error = parse(&body).unwrap_err();
    let targets: Vec<_> = error
        .details
        .iter()
        .filter_map(|finding| finding.target.as_deref())
        .collect();
    assert_eq!(
        targets,
        [
            "/properties/dataDisks/diskCount",
            "/properties/sshConfiguration/publicIPsToAllow/1"
        ]
    );
}

#[test]
fn sources_are_addresses_ranges_or_anything() {
    for good in [
        "*",
        "10.0.0.1",
        "10.0.0.0/8",
        "0.0.0.0/0",
        "fd00::/8",
        "::1",
    ] {
        let body = with("/sshConfiguration/publicIPsToAllow", json!([good]));
        assert!(parse(&body).is_ok(), "{good}");
    }
    for bad in [
        "",
        "**",
        "10.0.0",
        "10.0.0.0/33",
        "10.0.0.0/",
        "10.0.0.0/+8",
        "::/129",
        "lan",
        "10.0.0.1/8/8",
    ] {
        let body = with("/sshConfiguration/publicIPsToAllow", json!([bad]));
        assert!(parse(&body).is_err(), "{bad}");
    }
}

#[test]
fn only_the_spelling_of_the_size_may_differ() {
    let first = parse(&body()).unwrap();
    assert!(first.is_same_request(&parse(&with("/vmSize", json!("standard_nc6"))).unwrap()));
    for (pointer, value) in [
        ("/vmSize", json!("cpu")),
        ("/dataDisks/diskCount", json!(3)),
        ("/dataDisks/cachingType", json!("readonly")),
        ("/sshConfiguration/publicIPsToAllow", json!(["10.0.0.1"])),
        ("/lote", json!({"node": "a"})),
    ] {
        let other = parse(&with(pointer, value)).unwrap();
        assert!(!first.is_same_request(&other), "{pointer}");
    }
}

proptest::proptest! {
    #[test]
    fn every_range_of_every_address_is_a_source(address: core::net::IpAddr, bits in 0_u8..=32) {
        let text = address.to_string();
        proptest::prop_assert!(is_address_range(&text));
        let ranged = format!("{text}/{bits}");
        proptest::prop_assert!(is_address_range(&ranged));
    }

    #[test]
    fn no_text_panics(text in ".{0,40}") {
        let _ = is_address_range(&text);
    }

    #[test]
    fn what_is_accepted_reads_back_the_same(
        size in 1_i32..100_000, count in 1_i32..64, premium: bool, caching in 0_usize..3,
    ) {
        let kind = if premium { "Premium_LRS" } else { "Standard_LRS" };
        let caching = ["none", "readonly", "readwrite"][caching];
        let mut body = body();
        body["properties"]["dataDisks"] = json!({
            "diskSizeInGB": size, "diskCount": count, "storageAccountType": kind, "cachingType": caching});
        let once = parse(&body).unwrap();
        let again = parse(&json!({"properties": once.clone()})).unwrap();
        proptest::prop_assert!(once.is_same_request(&again));
        proptest::prop_assert_eq!(once, again);
    }
}
