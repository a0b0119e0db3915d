use serde_json::json;

use super::*;
use crate::export::{NfsServer, NfsService, SharePlace};
use crate::planned_mount::{MountSource, PlannedMount};

fn service() -> NfsService {
    NfsService {
        server: NfsServer::Ganesha,
        nfs_port: 2049,
        mount_port: Some(20_048),
        versions: vec!["4.2".into(), "3".into()],
        shares: SharePlace::Below("/var/lib/lote/work/shared".into()),
    }
}

/// A node that serves files and mounts them.
fn able(name: &str) -> NodeRecord {
    let record = json!({
        "name": name, "address": format!("{name}.local"), "size": "cpu", "version": "0",
        "bootId": "b", "cpuCores": 1, "memoryBytes": 1, "portsFirst": 1, "portsCount": 1,
        "workDirectory": "/var/lib/lote/work", "isolation": [],
        "startedAt": "1970-01-01T00:00:00Z",
    });
    let mut record: NodeRecord = serde_json::from_value(record).unwrap();
    record.nfs = Some(NfsAbility::Serves(service()));
    record.nfs_client_versions = vec!["3".into()];
    record
}

fn planned(mounts: &PlannedMounts, records: &[NodeRecord]) -> GangShare {
    let nodes: Vec<&NodeRecord> = records.iter().collect();
    plan(mounts, &nodes, &JobUid::new("u1"), 2)
}

fn lack(records: &[NodeRecord]) -> String {
    match planned(&PlannedMounts::default(), records) {
        GangShare::Lacks(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_node_serves_a_directory_of_the_attempt() {
    let share = planned(&PlannedMounts::default(), &[able("a"), able("b")]);
    insta::assert_json_snapshot!(share);
}

#[test]
fn one_node_and_a_file_server_need_none() {
    assert_eq!(
        planned(&PlannedMounts::default(), &[able("a")]),
        GangShare::None
    );
    let GangShare::Directory(source) = planned(&PlannedMounts::default(), &[able("a"), able("b")])
    else {
        panic!("no share");
    };
    let mut mounts = PlannedMounts {
        job: vec![PlannedMount {
            relative_path: "nfs".into(),
            source: MountSource::FileServer((*source).clone()),
        }],
        ..PlannedMounts::default()
    };
    let both = [able("a"), able("b")];
    assert_eq!(planned(&mounts, &both), GangShare::None);
    // One that cannot be written to is no place to share.
    let options = Some("ro".into());
    mounts.job[0].source = MountSource::FileServer(FileServerSource { options, ..*source });
    assert!(matches!(planned(&mounts, &both), GangShare::Directory(_)));
}

#[test]
fn what_keeps_nodes_from_sharing_is_said() {
    let mut bare = able("a");
    bare.nfs = Some(NfsAbility::Lacks("install nfs-ganesha".into()));
    let why = lack(&[bare.clone(), able("b")]);
    assert!(why.contains("'a'") && why.contains("install"), "{why}");
    // Only the first one serves.
    let of = planned(&PlannedMounts::default(), &[able("b"), bare]);
    assert!(matches!(of, GangShare::Directory(_)), "{of:?}");

    let mut old = able("a");
    old.nfs = None;
    assert!(lack(&[old, able("b")]).contains("update"));

    let mut closed = able("a");
    let mut service = service();
    service.shares = SharePlace::Lacks("it lies on overlay".into());
    closed.nfs = Some(NfsAbility::Serves(service));
    assert!(lack(&[closed, able("b")]).contains("overlay"));

    let mut blind = able("b");
    blind.nfs_client_versions.clear();
    assert!(lack(&[able("a"), blind.clone()]).contains("no NFS"));
    blind.nfs_client_versions = vec!["2".into()];
    assert!(lack(&[able("a"), blind]).contains("version 2 only"));

    let mut twin = able("b");
    twin.address = able("a").address;
    assert!(lack(&[able("a"), twin]).contains("same address"));
}
